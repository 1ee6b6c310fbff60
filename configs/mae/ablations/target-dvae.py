"""MAE ablation, target: tokens of DALL-E's discrete VAE, "dVAE token" (Table 1d).

    tools/dist_train.sh configs/mae/ablations/target-dvae.py 8

Needs mmpretrain and the weights of its DALL-E encoder (`model.target.weights`).

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1d:
85.3% fine-tuning, 71.6% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(
    target=dict(_delete_=True, type='DALLETarget', weights='data/dalle_encoder.pth'), head=dict(type='TokenHead')
)
