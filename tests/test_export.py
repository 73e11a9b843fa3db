"A learner as a file: other learners, other disks, rescaled logits."

import numpy as np, pytest
from fastai.vision.all import (CategoryBlock, DataBlock, ImageBlock, RandomResizedCrop, Resize, ResizeMethod,
                               parent_label)

from bearclf import export, multilabel
from bearclf.data import read_labels
from bearclf.evaluate import calibrated
from bearclf.inference import Classifier
from bearclf.pictures import picture_files
from bearclf.voices import sigmoid
from tiny_model import card, tiny_model

def test_a_rescaled_file_answers_as_calculated(tmp_path):
    model = tiny_model(tmp_path/'tiny.onnx', card(resize=[64, 64]), maps=True)
    picture = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    before = Classifier(model).predict(picture)
    rng = np.random.default_rng(1)
    for _ in range(2): # twice: the file stays one that can be rescaled
        scale, shift = rng.uniform(.5, 2, 6), rng.normal(size=6)
        expected = calibrated(np.array([[*before.probs.values()]]), scale, shift)[0]
        export.rescale_logits(model, scale, shift)
        before = Classifier(model).predict(picture)
        assert [*before.probs.values()] == pytest.approx(expected.tolist(), abs=1e-5)
        assert sigmoid(before.evidence.mean((1, 2))) == pytest.approx(expected.tolist(), abs=1e-4)

def test_export_to_another_disk(small, drawn, tmp_path, monkeypatch):
    "The temporary folder may lie on another file system than the model."
    import os
    replace = os.replace
    def same_disk(a, b):
        if os.path.dirname(a) != os.path.dirname(b): raise OSError(18, 'Invalid cross-device link')
        replace(a, b)
    learn = multilabel.bear_learner(multilabel.bear_dataloaders(read_labels(drawn)), small)
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

def test_a_backbone_that_takes_no_such_pictures(drawn):
    with pytest.raises(multilabel.TrainingError, match='vit_tiny_patch16_224'):
        multilabel.bear_learner(multilabel.bear_dataloaders(read_labels(drawn)), 'vit_tiny_patch16_224', pretrained=False)

def test_a_file_holds_the_backbone_that_saw_the_pictures(small, drawn, tmp_path):
    "Bit by bit, and its head hears what it heard in training."
    import onnx, torch
    from bearclf.evaluate import file_answers
    from bearclf.features import fit, see
    def weights(model): return {i.name: i.raw_data for i in model.graph.initializer}
    pictures = [p for p in read_labels(drawn) if len(p.labels) == 1]
    views = see(pictures, arch=small)
    learn, _ = fit(views, arch=small)
    head, heard = learn.model[1].parts, views.features[:len(pictures)].float()
    whole = learn.model[1].whole(heard)
    head[0].momentum = 1 # a head on such a backbone says nearly the same of all; now it takes sides
    with torch.no_grad():
        head[4].weight *= 10
        head.train()(heard)
        head[4].bias -= head.eval()(heard).mean(0)
        heard = head(heard).sigmoid().numpy()
    assert heard.std(0).min() > .1
    export.export_onnx(learn, tmp_path/'mine.onnx', int8=True, backbone=views.backbone)
    backbone, file = weights(onnx.load_from_string(views.backbone)), weights(onnx.load(tmp_path/'mine.onnx'))
    assert backbone and {name: file.get(f'body_{name}') for name in backbone} == backbone
    probs, _, said = file_answers(tmp_path/'mine.onnx', [p.file for p in pictures])
    assert probs == pytest.approx(heard, abs=.03)
    assert whole.std(0).min() > .1 and np.concatenate([o.whole for o in said]) == pytest.approx(whole.numpy(), abs=.05)

def test_the_whole_hears_of_what_came_on_the_way(drawn, tmp_path):
    "In the file as in training, of a backbone of ours."
    import onnx
    from bearclf.evaluate import file_answers
    from bearclf.features import fit, see
    pictures = [p for p in read_labels(drawn) if len(p.labels) == 1]
    views = see(pictures, rounds=1)
    learn, _ = fit(views, epochs=1)
    features, intermediate = views.features[:len(pictures)].float(), views.intermediate[:len(pictures)].float()
    whole, without = (learn.model[1].whole(features, o).numpy() for o in (intermediate, 0*intermediate))
    assert np.abs(whole - without).max() > .1
    export.export_onnx(learn, tmp_path/'mine.onnx', int8=True, backbone=views.backbone)
    assert [o.name for o in onnx.load(tmp_path/'mine.onnx').graph.output] == ['logits', 'evidence', 'whole']
    said = np.concatenate([o.whole for o in file_answers(tmp_path/'mine.onnx', [p.file for p in pictures])[2]])
    assert whole.std(0).min() > .1 and said == pytest.approx(whole, abs=.05)
