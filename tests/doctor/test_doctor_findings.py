"""What the doctor says of each kind of damage, given the answers of its probes."""

import pytest
from harness import ROOT

from mmmim.doctor.findings import NOT_TRIED, Findings, Gpu, Remedies
from mmmim.doctor.installed import PARTS, Row, pinned_versions

WHOLE = {part.distributions[0]: pinned_versions().get(part.distributions[0], '0.1.0') for part in PARTS}
TORCH = dict(ok=True, version=WHOLE['torch'] + '+cpu', cuda=None)


def findings(installed=None, gpu=Gpu()):
    return Findings(Remedies(dict(WHOLE if installed is None else installed), pinned_versions()), gpu)


def failed(error, trace='', **values):
    return dict(ok=False, error=error, cause=error, kind='ImportError', trace=trace or error, **values)


def judged(name, answer, **kwargs):
    return findings(**kwargs).part(next(part for part in PARTS if part.name == name), answer)


@pytest.mark.parametrize(
    'name, error, reason, command',
    [
        (
            'opencv',
            'libgthread-2.0.so.0: cannot open shared object file',
            'libgthread-2.0.so.0 is missing',
            'libglib2.0-0',
        ),
        ('opencv', 'numpy.core.multiarray failed to import', 'another NumPy', 'uninstall -y opencv-python'),
        (
            'torchvision',
            'operator torchvision::nms does not exist',
            'do not belong together',
            'install --force-reinstall -c requirements/constraints.txt torch torchvision',
        ),
        ('torch', 'libcudart.so.13: cannot open shared object file', "torch's own", 'torch torchvision'),
        ('mmcv', '/x/mmcv/_ext.cpython-311.so: undefined symbol: _ZN2at', 'another torch', 'onedl-mmcv'),
        (
            'detection',
            'File "/x/mmcv/ops/nms.py"\nImportError: libc10_cuda.so: cannot open',
            'another torch',
            'install --force-reinstall --no-cache-dir --no-deps',
        ),
        ('mmdetection', 'MMCV==2.2.0 is used but incompatible. Please install', 'mixed', 'onedl-mmcv'),
        ('timm', '[Errno 28] No space left on device', 'disk is full', 'df -h'),
        ('scikit-learn', "No module named 'pkg_resources'", 'setuptools', 'setuptools'),
        ('timm', 'something never seen', 'something never seen', 'pip install --force-reinstall'),
    ],
)
def test_known_damage_has_a_name_and_a_command(name, error, reason, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    row = findings().work(name, failed(error), TORCH) if name == 'detection' else judged(name, failed(error))
    assert row.status == 'broken' and reason in row.detail
    assert any(command in line for line in row.mend), row.mend


def test_transformers_5_is_found_behind_the_failure_of_mmpretrain():
    answer = failed('TypeError: NoneType takes no arguments', 'mmpretrain/models/multimodal/blip/language_model.py')
    installed = dict(WHOLE, transformers='5.1.0')
    assert 'transformers 5' in judged('mmpretrain', answer, installed=installed).detail
    assert 'transformers' in judged('mmpretrain', answer, installed=installed).mend[0]
    assert 'transformers' not in judged('mmpretrain', answer).detail
    assert judged('transformers', dict(ok=True), installed=installed).status == 'note'


def test_one_broken_part_is_blamed_once():
    found = findings()
    parts = {part.name: part for part in PARTS}
    assert found.part(parts['opencv'], failed('libGL.so.1: cannot open shared object file')).mend
    for name in ('mmcv', 'mmmim'):
        row = found.part(parts[name], failed('libGL.so.1: cannot open', '  File "x/mmcv/image.py"\n    import cv2\n'))
        assert row.detail == 'needs opencv' and not row.mend
    row = found.work('pre-training', failed('libGL.so.1', 'import cv2'), dict(ok=True))
    assert row.detail == 'needs opencv' and row.status == 'broken'


def test_two_families_in_one_environment(monkeypatch):
    monkeypatch.chdir(ROOT)
    row = judged('mmengine', dict(ok=True), installed=dict(WHOLE, mmengine='0.10.7'))
    assert row.status == 'broken' and 'onedl-mmengine and mmengine own the same folder' in row.detail
    removed = row.mend[0].split(' -y ')[1].split()
    assert {'mmengine', 'onedl-mmengine', 'onedl-mmcv'} <= set(removed)
    assert row.mend[-1].split('constraints.txt ')[1].split() == [name for name in removed if name != 'mmengine']


def test_an_upstream_family_is_not_mixed_with_the_other():
    """With upstream's mmengine and mmcv installed, adding onedl's mmseg would bring onedl's mmengine over them."""
    installed = {'torch': '2.11.0', 'mmengine': '0.10.7', 'mmcv': '2.2.0'}
    assert judged('mmengine', dict(ok=True), installed=installed).status == 'note'
    commands = Remedies(installed, pinned_versions()).install('mmseg')
    assert 'uninstall -y mmengine mmcv' in commands[0]
    assert commands[-1].endswith('onedl-mmengine onedl-mmcv onedl-mmsegmentation')


def test_another_version_is_a_note_and_another_build_is_none():
    assert judged('torch', dict(ok=True), installed=dict(WHOLE, torch=WHOLE['torch'] + '+cu126')).status == 'ok'
    row = judged('torch', dict(ok=True), installed=dict(WHOLE, torch='2.9.0'))
    assert row.status == 'note' and (row.installed, row.tested) == ('2.9.0', WHOLE['torch']) and not row.mend


def test_mmmim_from_another_checkout_is_noticed():
    assert judged('mmmim', dict(ok=True, file=str(ROOT / 'mmmim/__init__.py'))).status == 'ok'
    row = judged('mmmim', dict(ok=True, file='/elsewhere/mmmim/__init__.py'))
    assert row.status == 'note' and '/elsewhere/mmmim' in row.detail and ' -e ' in row.mend[0]


def test_pre_training_does_not_count_while_mmmim_is_not_installed():
    found = findings()
    found.rows['mmmim'] = Row('installed', 'mmmim', 'absent')
    row = found.work('pre-training', dict(ok=True, detail='trained'), dict(ok=True))
    assert row.status == 'broken' and 'does not find mmmim' in row.detail and ' -e ' in row.mend[0]


NO_GPU, HIDDEN_GPU, H100 = Gpu(), Gpu(present=True), Gpu(True, ('NVIDIA H100',), '12.4')
NOT_FOUND = failed('Found no NVIDIA driver on your system')


@pytest.mark.parametrize(
    'answer, cuda, gpu, status, words',
    [
        (NOT_FOUND, '13.0', NO_GPU, 'absent', 'none here'),
        (failed('Torch not compiled with CUDA enabled'), None, NO_GPU, 'absent', 'none here'),
        (failed('Torch not compiled with CUDA enabled'), None, H100, 'broken', 'build for the CPU only'),
        (failed('driver on your system is too old'), '13.0', H100, 'broken', 'CUDA up to 12.4'),
        (NOT_FOUND, '12.6', HIDDEN_GPU, 'broken', 'nvidia-smi does not show'),
        (failed('no kernel image is available for execution'), '12.6', H100, 'broken', 'generation'),
        (dict(ok=True, detail='1 x H100'), '12.6', H100, 'ok', 'H100'),
    ],
)
def test_gpu(answer, cuda, gpu, status, words, monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    row = findings(gpu=gpu).work('GPU', answer, dict(ok=True, cuda=cuda))
    assert row.status == status and words in row.detail
    assert bool(row.mend) == (status == 'broken')


def test_a_hidden_gpu_is_no_damage(monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    row = findings(gpu=H100).work('GPU', failed('No CUDA GPUs are available'), dict(ok=True, cuda='12.4'))
    assert row.status == 'note' and row.mend == ('unset CUDA_VISIBLE_DEVICES',)


def test_without_torch_nothing_is_said_of_a_gpu_but_that():
    row = findings(gpu=H100).work('GPU', NOT_TRIED, NOT_TRIED)
    assert row.status == 'broken' and row.detail == 'needs torch'


def test_detection_asks_for_mmdet(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = findings({})
    found.rows['mmdetection'] = Row('installed', 'mmdetection', 'absent')
    row = found.work('detection', failed('x', missing='mmdet'), TORCH)
    assert row.status == 'absent' and 'onedl-mmdetection' in row.mend[-1]
    assert '-c requirements/constraints.txt' in row.mend[-1]


def test_ops_of_another_torch_are_a_note():
    """torchvision's operators are used in their place; mmseg, which asks whether there are some, fails at them."""
    assert judged('mmcv', dict(ok=True)).status == 'ok'
    row = judged('mmcv', dict(ok=True, ops='/x/mmcv/_ext.so: undefined symbol: _ZN3c10'))
    assert row.status == 'note' and 'undefined symbol' in row.detail
    assert '--no-cache-dir --no-deps' in row.mend[0] and 'onedl-mmcv' in row.mend[0]


def test_metadata_without_the_package_is_half_an_installation():
    answer = failed("No module named 'timm'", missing='timm')
    row = judged('timm', answer)
    assert row.status == 'broken' and 'half installed' in row.detail and '--force-reinstall' in row.mend[0]
    without = {name: version for name, version in WHOLE.items() if name != 'timm'}
    row = judged('timm', answer, installed=without)
    assert row.status == 'absent' and not any('--force-reinstall' in line for line in row.mend)


def test_two_opencvs_of_one_release_are_as_they_should_be():
    """mmdetection brings the one without windows beside the one with."""
    pins = pinned_versions()
    both = {name: pins[name] for name in ('opencv-python', 'opencv-python-headless')}
    assert len(set(both.values())) == 1
    assert judged('opencv', dict(ok=True), installed=dict(WHOLE, **both)).status == 'ok'
    row = judged('opencv', dict(ok=True), installed={**WHOLE, **both, 'opencv-python-headless': '4.1'})
    assert row.status == 'note' and 'own the same folder' in row.detail


def test_overlaps_are_found_by_name():
    row = judged('mmcv', dict(ok=True), installed={'onedl-mmcv': '2.3.6', 'mmcv-lite': '2.1'})
    assert row.status == 'broken' and 'onedl-mmcv and mmcv-lite' in row.detail
    assert judged('mmcv', dict(ok=True), installed={'onedl-mmcv': '2.3.6', 'mmengine': '0.10.7'}).status == 'ok'
