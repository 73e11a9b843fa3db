"Training, evaluation and export, where a notebook is the wrong place: sets that are barely enough, and learners made without bearclf."
import shutil

import numpy as np
import pytest

multilabel, other_class = (pytest.importorskip(f'bearclf.{m}') for m in ('multilabel', 'other_class'))
from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, RandomResizedCrop, Resize, ResizeMethod, parent_label

from bearclf import evaluate, export, train
from bearclf.data import Labelled, read_labels
from bearclf.drawn import sample_images
from bearclf.pictures import DataError, picture_files
from bearclf.inference import Classifier

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return sample_images(tmp_path_factory.mktemp('training')/'drawn', n=10)

def test_copies_never_lie_on_both_sides(drawn, tmp_path):
    from PIL import Image
    root = tmp_path/'copies'
    shutil.copytree(drawn/'teddys', root/'teddys')
    shutil.copytree(drawn/'grizzly', root/'grizzly')
    for f in picture_files(root): Image.open(f).convert('RGB').resize((260, 260)).save(f.with_name(f.stem + '_copy.jpg'), quality=50)
    pictures = read_labels(root)
    for seed in range(10):
        dls = multilabel.bear_dataloaders(pictures, seed=seed)
        sides = [{f.stem.removesuffix('_copy') for f in ds.items} for ds in (dls.train_ds, dls.valid_ds)]
        assert not sides[0] & sides[1] and all(sides)

def test_the_least_that_can_be_trained_on(drawn, tmp_path):
    root = tmp_path/'least'
    for kind, n in (('teddys', 3), ('grizzly', 2)):
        (root/kind).mkdir(parents=True)
        for f in picture_files(drawn/kind)[:n]: shutil.copy(f, root/kind)
    scores = train.train(root, tmp_path/'least.onnx', epochs=1)
    assert scores.n['all', 'exact match'] == 1 and Classifier(tmp_path/'least.onnx').labels == ['grizzly', 'teddys']
    next((root/'teddys').iterdir()).unlink()
    with pytest.raises(DataError, match='at least 5'): train.train(root, tmp_path/'fewer.onnx')

def test_a_label_that_would_be_held_aside_whole_is_trained_on(drawn):
    "Its near-duplicates go with it, whatever the seed."
    from PIL import Image
    bear = picture_files(drawn/'grizzly')[0]
    copies = [bear.with_name(f'again {i}.jpg') for i in range(3)]
    for i, f in enumerate(copies): Image.open(bear).convert('RGB').resize((200+20*i,)*2).save(f)
    pictures = [Labelled(f, ('grizzly',)) for f in copies] + [Labelled(f, ('teddys',)) for f in picture_files(drawn/'teddys')]
    try:
        for seed in range(20): assert set(copies) <= set(multilabel.bear_dataloaders(pictures, seed=seed).train_ds.items)
        with pytest.raises(DataError, match='near-duplicates'): multilabel.bear_dataloaders(pictures[:3])
    finally:
        for f in copies: f.unlink()

def test_export_to_another_disk(drawn, tmp_path, monkeypatch):
    "The temporary folder may lie on another file system than the model."
    import os
    replace = os.replace
    def same_disk(a, b):
        if os.path.dirname(a) != os.path.dirname(b): raise OSError(18, 'Invalid cross-device link')
        replace(a, b)
    learn = multilabel.bear_learner(multilabel.bear_dataloaders(read_labels(drawn)))
    monkeypatch.setattr(os, 'replace', same_disk)
    for int8 in (False, True): export.export_onnx(learn, tmp_path/'mine.onnx', int8=int8)
    assert [f.name for f in tmp_path.iterdir()] == ['mine.onnx']

@pytest.mark.parametrize('item_tfms, resize, size', [
    (RandomResizedCrop(96, min_scale=.5), [112, 112], [96, 96]),
    (Resize((64, 128), ResizeMethod.Squish), [64, 128], [64, 128])])
def test_a_learner_made_without_bearclf(drawn, tmp_path, item_tfms, resize, size):
    "Any fastai vision learner exports; the file prepares pictures as its validation path does, also when they are no squares."
    from fastai.vision.all import vision_learner
    dls = DataBlock((ImageBlock, CategoryBlock), get_y=parent_label, item_tfms=item_tfms).dataloaders(
        picture_files(drawn/'teddys') + picture_files(drawn/'grizzly'), bs=4, num_workers=0)
    check = export.export_onnx(vision_learner(dls, 'resnet18', pretrained=False), tmp_path/'mine.onnx')
    card = Classifier(tmp_path/'mine.onnx').card
    assert (list(card.resize), list(card.size), card.multi_label) == (resize, size, False)
    assert check['max_difference'] < 1e-3 and check['pictures'] >= 4 # parts of long ones count

def test_a_learner_that_opens_pictures_otherwise_is_found_out(drawn, tmp_path):
    "fastai ignores EXIF rotation: the check at export says so, and writes nothing."
    from PIL import Image
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ('teddys', 'grizzly'):
        (tmp_path/'turned'/kind).mkdir(parents=True)
        for f in picture_files(drawn/kind): Image.open(f).convert('RGB').save(tmp_path/'turned'/kind/f'{f.stem}.jpg', exif=exif)
    dls = DataBlock((ImageBlock, CategoryBlock), get_y=parent_label, item_tfms=Resize(96, ResizeMethod.Squish)).dataloaders(
        picture_files(tmp_path/'turned'), bs=4, num_workers=0)
    learn = multilabel.bear_learner(dls)
    for int8 in (False, True):
        with pytest.raises(multilabel.TrainingError, match='differ'): export.export_onnx(learn, tmp_path/'mine.onnx', int8=int8)
    assert not list(tmp_path.glob('*.onnx')) and not list(tmp_path.glob('.*'))

def test_false_bears_and_the_bootstrap():
    "The interval of a share of a half from n pictures is about 2 x 1.96 x sqrt(1/4n) wide."
    n = 400
    y = np.zeros((n, 2), int)
    probs = np.zeros((n, 2))
    probs[::2, 0] = .9
    row = evaluate.evaluate(probs, y, ['grizzly', 'other'], n_boot=2000).loc[('all', 'false bears')]
    assert row.value == .5 and row.n == n
    assert row.high - row.low == pytest.approx(2*1.96*(1/(4*n))**.5, rel=.1)

def test_weights_out_of_reach(drawn, monkeypatch):
    dls = multilabel.bear_dataloaders(read_labels(drawn))
    def offline(*args, **kwargs): raise OSError('no network')
    monkeypatch.setattr(multilabel, 'vision_learner', offline)
    with pytest.raises(multilabel.TrainingError, match='tf_efficientnet_lite0'): multilabel.bear_learner(dls, 'resnet18')

def test_a_backbone_that_takes_no_such_pictures(drawn):
    with pytest.raises(multilabel.TrainingError, match='vit_tiny_patch16_224'):
        multilabel.bear_learner(multilabel.bear_dataloaders(read_labels(drawn)), 'vit_tiny_patch16_224', pretrained=False)

def test_a_label_without_pictures_and_one_called_all():
    scores = evaluate.evaluate([[.9, .1], [.8, .3]], [[1, 0], [0, 0]], ['all', 'other'])
    assert scores.value['all', 'mAP'] == 1 and scores.n['all', 'exact match'] == 2
    assert np.isnan(scores.value['other', 'AP'])
