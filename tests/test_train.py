"Folds, and trainings that are stopped or hardly possible."
import itertools, random, shutil

import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from tiny_model import LABELS, two_voices

from bearclf import features, multilabel, train, tune
from bearclf.data import Labelled, read_labels
from bearclf.evaluate import file_answers, file_probs
from bearclf.inference import Classifier
from bearclf.drawn import sample_images
from bearclf.multilabel import TrainingError
from bearclf.pictures import DataError, picture_files

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return sample_images(tmp_path_factory.mktemp('train')/'drawn', n=6)

def test_folds_share_no_picture_and_no_copy(drawn, tmp_path):
    root = tmp_path/'copies'
    for kind in ('teddys', 'grizzly', 'other'): shutil.copytree(drawn/kind, root/kind)
    for f in picture_files(root): Image.open(f).convert('RGB').resize((260, 260)).save(f.with_name(f.stem + '_copy.jpg'), quality=50)
    pictures = read_labels(root)
    splits = train.folds_of(pictures, 3)
    assert sorted(i for _, valid in splits for i in valid) == list(range(len(pictures)))
    for rest, valid in splits:
        assert sorted(rest + valid) == list(range(len(pictures)))
        names = [{pictures[i].file.stem.removesuffix('_copy') for i in part} for part in (rest, valid)]
        assert not names[0] & names[1]
    with pytest.raises(DataError, match='too few'): train.folds_of([Labelled(p.file, ('a', 'b')) for p in pictures[:2]], 3)
    with pytest.raises(DataError, match='give 2 or more'): train.folds_of(pictures, 1)
    few = [Labelled(p.file, ('rare',)) for p in pictures[:1]] + pictures[4:]
    with pytest.raises(DataError, match='rare fall into one'): train.folds_of(few, 3)

def test_many_small_labels_are_dealt():
    "Each would begin in the first fold."
    for labels in ([(f'kind {i//3}',) for i in range(90)], [('rare',), ('a', 'rare'), ('b', 'rare'), *[('a',), ('b',)]*20]):
        pictures = [Labelled(i, labels) for i, labels in enumerate(labels)]
        splits = train.folds_of(pictures, 5, twins={i: {i} for i in range(len(pictures))})
        assert sorted(i for _, valid in splits for i in valid) == list(range(len(pictures)))
        for rest, valid in splits: assert valid and {l for i in rest for l in labels[i]} == {l for ls in labels for l in ls}

def test_what_was_held_aside_goes_with_the_scores():
    "Through what people do with data frames."
    helds = [train.Held([], np.zeros((2, 3)), [], [], [], np.zeros((0, 3)), [], []) for _ in range(2)]
    scores = [pd.DataFrame(dict(value=[1.])) for _ in helds]
    for df, held in zip(scores, helds): df.attrs['held'] = held
    assert len(pd.concat(scores)) == 2 and scores[0].copy().attrs['held'] is helds[0]

def test_pictures_opened_by_other_processes(small, drawn, monkeypatch):
    "As where there is a GPU."
    pictures, block = read_labels(drawn), multilabel.DataBlock.dataloaders
    alone = features.see(pictures, arch=small)
    monkeypatch.setattr(multilabel.DataBlock, 'dataloaders', lambda *args, **kwargs: block(*args, **kwargs | dict(num_workers=2)))
    views = features.see(pictures, arch=small)
    assert views.features.shape == alone.features.shape and views.backbone == alone.backbone
    assert (views.features == alone.features)[:len(pictures)].all() # those as they are: nothing there is by chance
    assert len(views.features) == 9*len(pictures) and len(features.see(pictures, arch=small, rounds=1).features) == 3*len(pictures)

def test_stopped_in_the_second_fold(small, drawn, tmp_path, monkeypatch, capsys):
    "The network of that fold becomes the model, scored on what it was not trained on."
    epochs = []
    def stop(self):
        epochs.append(self.epoch)
        if len(epochs) == 3: raise KeyboardInterrupt # two a fold
    monkeypatch.setattr(features.EpochLines, 'after_epoch', stop)
    scores = train.train(drawn, tmp_path/'stopped.onnx', epochs=2, folds=2, arch=small)
    assert 'Stopped' in capsys.readouterr().out and Classifier(tmp_path/'stopped.onnx').card.stopped_early
    assert 0 < scores.n['all', 'exact match'] < len(read_labels(drawn)) and [f.name for f in tmp_path.iterdir()] == ['stopped.onnx']

def test_stopped_before_the_second_fold_has_anything(small, drawn, tmp_path, monkeypatch, capsys):
    "The first fold's network becomes the model."
    fit, folds = train.fit, []
    def stop(*args, **kwargs):
        folds.append(args)
        if len(folds) == 2: raise KeyboardInterrupt
        return fit(*args, **kwargs)
    monkeypatch.setattr(train, 'fit', stop)
    scores = train.train(drawn, tmp_path/'stopped.onnx', epochs=1, folds=2, arch=small)
    assert 'network of the fold before' in capsys.readouterr().out and Classifier(tmp_path/'stopped.onnx').card.stopped_early
    assert 0 < scores.n['all', 'exact match'] < len(read_labels(drawn)) and [f.name for f in tmp_path.iterdir()] == ['stopped.onnx']
    folds.append('another')
    monkeypatch.setattr(train, 'fit', lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): train.train(drawn, tmp_path/'none.onnx', epochs=1, folds=2, arch=small)
    assert not (tmp_path/'none.onnx').exists()

def test_stopped_as_the_last_head_learns_of_the_whole(small, drawn, tmp_path, monkeypatch):
    "The folds have it, and the file that is written has not: it works by what its parts say."
    whole_of, fitted, numbers = features._whole_of, [], itertools.count()
    def stop(*args):
        fitted.append(args)
        if len(fitted) == 3: raise KeyboardInterrupt # one a fold
        return whole_of(*args)
    monkeypatch.setattr(features, '_whole_of', stop)
    monkeypatch.setattr(train, '_right', lambda *args: -next(numbers)) # each rule is kept
    train.train(drawn, tmp_path/'stopped.onnx', epochs=2, folds=2, arch=small)
    assert len(fitted) == 3 and Classifier(tmp_path/'stopped.onnx').card.stopped_early

def test_stopped_in_the_middle_of_tuning(drawn, tmp_path, monkeypatch, capsys):
    "In a batch of the first pass over the pictures: the head on the backbone as it came becomes the model."
    def stop(self):
        if self.training: raise KeyboardInterrupt
    monkeypatch.setattr(tune.KeepKnown, 'after_loss', stop)
    monkeypatch.setattr(tune, '_multiplies_half', lambda device: True)
    scores = train.train(drawn, tmp_path/'tuned.onnx', epochs=2, tuning=2)
    assert torch.autocast_increment_nesting() == 1, 'what follows would compute with the weights of today for ever'
    torch.autocast_decrement_nesting()
    said = capsys.readouterr().out
    assert 'Tuning the backbone' in said and 'Stopped' in said and Classifier(tmp_path/'tuned.onnx').card.stopped_early
    assert scores.value['all', 'mAP'] > .3

def test_tuning_needs_a_backbone_that_knows(small, drawn, tmp_path):
    with pytest.raises(TrainingError, match='take tf_efficientnet_lite0'): train.train(drawn, tmp_path/'m.onnx', arch=small, tuning=1)

def test_the_least_that_can_be_trained_on(small, drawn, tmp_path):
    root = tmp_path/'least'
    for kind, n in (('teddys', 3), ('grizzly', 2)):
        (root/kind).mkdir(parents=True)
        for f in picture_files(drawn/kind)[:n]: shutil.copy(f, root/kind)
    scores = train.train(root, tmp_path/'least.onnx', epochs=1, arch=small)
    assert scores.n['all', 'exact match'] == 1 and Classifier(tmp_path/'least.onnx').labels == ['grizzly', 'teddys']
    next((root/'teddys').iterdir()).unlink()
    with pytest.raises(DataError, match='at least 5'): train.train(root, tmp_path/'fewer.onnx')


@pytest.mark.parametrize('single', [False, True])
@pytest.mark.parametrize('size', [(320, 160), (1600, 160), (1, 700)])
def test_a_set_of_long_pictures_only(small, drawn, tmp_path, single, size):
    for p in read_labels(drawn):
        if p.labels in (('grizzly',), ('teddys',)):
            (tmp_path/'long'/p.labels[0]).mkdir(parents=True, exist_ok=True)
            Image.open(p.file).convert('RGB').resize(size).save(tmp_path/'long'/p.labels[0]/f'{p.file.stem}.png')
    train.train(tmp_path/'long', tmp_path/'long.onnx', epochs=1, single=single, arch=small)
    assert Classifier(tmp_path/'long.onnx').card.check['pictures'] > 0


@pytest.mark.parametrize('whole, kept', [('Identity', True), ('Neg', False)])
def test_a_file_answers_as_it_was_scored(whole, kept, tmp_path):
    "With closer looks where in doubt; a second voice that is wrong is dropped."
    rng, pictures = random.Random(0), []
    def colour(strength, i): return tuple(110 + int(strength*(j == i)) - int(.4*strength*(j != i)) for j in range(3))
    for n in range(150):
        i, im = n % 2, Image.new('RGB', (100, 100), (110, 110, 110))
        im.paste(colour(rng.uniform(20, 90), i), (0, 0, rng.randint(40, 60), 100))
        both = n % 3 == 0
        im.paste(colour(rng.uniform(20, 90) if both else rng.uniform(0, 40), 1 - i), (60, 0, 100, 100)) # a trace of the other one
        im.save(f := tmp_path/f'{n}.png')
        pictures.append(Labelled(f, tuple(LABELS[:2]) if both else (LABELS[i],)))
    helds = []
    for n in range(2):
        file = two_voices(tmp_path/f'{n}.onnx', whole, {}, bias=-3. - n)
        helds.append((train._held(file, pictures[n::2], False, 42), file.read_bytes()))
    held = train._settle_model(file, helds, False).attrs['held']
    card, last = Classifier(file).card, len(pictures)//2 # `file` is that of the second fold
    assert bool(card.company) == kept == (file_answers(file, [pictures[0].file])[2][0] is not None)
    assert file_probs(file, [p.file for p in held.pictures[last:]]) == pytest.approx(held.probs[last:], abs=1e-4)
    assert file_probs(file, (p.joined() for p in held.pairs[last//2:])) == pytest.approx(held.pair_probs[last//2:], abs=1e-4)
    if kept:
        looks = ~np.isnan(np.concatenate([o.closer for o in held.heard])[:, :, 0])
        assert (looks.sum(0) > 5).all() and card.company['closer'] != [1, 0, 0]

def test_what_is_odd_about_a_set_is_said(small, drawn, tmp_path, capsys):
    shutil.copytree(drawn, images := tmp_path/'images')
    (images/'@EADIR').mkdir()
    (images/'grizzly'/'@Recycle').mkdir()
    photo = picture_files(drawn/'grizzly')[0]
    Image.open(photo).convert('RGB').resize((300, 300)).save(images/'teddys'/'again.webp')
    train.train(images, tmp_path/'odd.onnx', epochs=1, arch=small)
    said = capsys.readouterr().out
    assert 'Passed over, as a system puts them there: @EADIR and @Recycle' in said
    assert f'{photo.name} and {images}/teddys/again.webp look alike' in said and '(1 such)' in said

def test_few_pictures_get_no_bound_and_are_told(small, drawn, tmp_path, capsys):
    scores = train.train(drawn, tmp_path/'few.onnx', epochs=1, arch=small)
    assert list(Classifier(tmp_path/'few.onnx').card.threshold_sets) == ['highest F1']
    assert 'other has only' in capsys.readouterr().out
    assert (scores.dropna().low < scores.dropna().high).all()
