"""CrossMAE ablation, with noise, Swin-B (Table 11).

    tools/dist_train.sh configs/crossmae/ablations/noise-with_swin-b.py 8

The paper names neither target nor length: those of `../swin-b_100e.py`.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: mCE 48.9 on ImageNet-C (Swin-B without pre-training: 54.4). Not reproduced by this
code yet.
"""

_base_ = '../swin-b_100e.py'
model = dict(drawing_head=dict(noise='mapped'))
