"""CrossMAE at 96 px on two CPU cores, beside `mae.py`: the same encoder, images, batch, epochs and learning rate.

    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/quickstart/crossmae.py

A light head completes the masked image, differently for each noise vector; the encoder sees the completed image and
predicts normalised pixels of the original. The pictures show two completions. Other targets that need no weights:

    --cfg-options model.target.type=HOGTarget
    --cfg-options model.target.type=MomentumTarget

No published result.
"""

_base_ = './mae.py'
model = dict(
    type='CrossMAE',
    neck=None,
    head=None,
    drawing_head=dict(type='DrawingHead', embed_dim=64, depth=2, num_heads=2),
    draw_target=dict(type='BlurredPixelTarget', sigma=10.0),
    predictor=dict(type='LinearPredictor'),
    target=dict(_delete_=True, type='PixelTarget'),
    pred_weight=0.1,
)
