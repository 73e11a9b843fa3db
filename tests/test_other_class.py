"The `other` class, collages, calibration and thresholds, where a notebook is the wrong place: interruptions, hostile folders, random cases against brute force."
import os, random, shutil
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_model import card, tiny_model

other_class = pytest.importorskip('bearclf.other_class')
import torch

from bearclf import export, features, train
from bearclf.data import Labelled, read_labels
from bearclf.drawn import sample_images
from bearclf.pictures import DataError, OTHER, picture_files
from bearclf.inference import Classifier
from bearclf.evaluate import _sigmoid, answers, bound_false_bears, calibrated, evaluate, f1_thresholds

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return sample_images(tmp_path_factory.mktemp('other')/'drawn', n=6)

# ---- gathering ----

@pytest.fixture
def searches(tmp_path):
    for folder in ('toys', 'images', 'portrait_white_background'):
        (tmp_path/folder/'deep').mkdir(parents=True)
        for name in ('1.jpg', '2.jpg', 'deep/1.jpg', 'notes.txt'): (tmp_path/folder/name).write_text(f'{folder} {name}')
    return tmp_path

def contents(path): return sorted(f.read_text() for f in path.rglob('*') if f.is_file())

def test_nothing_is_overwritten(searches):
    (searches/'other').mkdir()
    (searches/'other'/'1.jpg').write_text('was there before')
    before, folders = contents(searches), [searches/f for f in ('toys', 'images', 'portrait_white_background')]
    assert len(other_class.gather(folders, searches/'other')) == 9
    assert contents(searches) == before and (searches/'other'/'1.jpg').read_text() == 'was there before'
    assert len(picture_files(searches/'other')) == 10 and (searches/'toys'/'notes.txt').exists()

@pytest.mark.parametrize('stop_at', range(1, 9))
def test_stopped_anywhere_and_run_again(searches, monkeypatch, stop_at):
    before, folders, move, calls = contents(searches), [searches/'toys', searches/'images'], other_class.move_file, []
    def interrupted(*args):
        calls.append(args)
        if len(calls) == stop_at: raise KeyboardInterrupt
        return move(*args)
    monkeypatch.setattr(other_class, 'move_file', interrupted)
    if stop_at <= 6:
        with pytest.raises(KeyboardInterrupt): other_class.gather(folders, searches/'other')
        assert contents(searches) == before
    other_class.gather(folders, searches/'other')
    assert contents(searches) == before and len(picture_files(searches/'other')) == 6

@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_that_can_not_be_written(searches):
    (searches/'other').mkdir(mode=0o500)
    with pytest.raises(DataError, match='could not be moved'): other_class.gather([searches/'toys'], searches/'other')

def test_a_file_in_place_of_the_folder(searches):
    (searches/'other').write_text('')
    with pytest.raises(DataError, match='could not be moved'): other_class.gather([searches/'toys'], searches/'other')
    assert len(picture_files(searches/'toys')) == 3

def test_mining_ranks_by_how_wrong(tmp_path, drawn):
    "For a sigmoid and for a softmax; with `other` among the labels, whose own probability is not an error."
    labels = ['red', 'green', 'top_left', 'top_right', 'bottom_left', OTHER]
    for multi in (True, False):
        model = tiny_model(tmp_path/f'{multi}.onnx', card(labels=labels, multi_label=multi, thresholds=dict.fromkeys(labels, .5)))
        mined = other_class.mine(model, drawn/'other')
        kinds = mined[labels[:-1]].to_numpy()
        assert np.allclose(mined.loss, -np.log((1-kinds).prod(1) if multi else 1-kinds.sum(1))) and mined.loss.is_monotonic_decreasing
    (tmp_path/'empty').mkdir()
    with pytest.raises(DataError, match='no pictures'): other_class.mine(model, tmp_path/'empty')

# ---- collages ----

@pytest.mark.parametrize('vocab', [['black_bear', 'grizzly', OTHER], ['cat', 'dog']])
def test_a_collage_has_the_labels_of_what_is_in_it(vocab, monkeypatch):
    "Pictures of one colour each: every colour seen in the frame is labelled, nothing else is, and `other` stands alone."
    monkeypatch.setattr(other_class, '_fitted', lambda x, h, w, cut: x[:, :h, :w])
    for seed in range(50):
        random.seed(seed)
        kinds = random.choices(range(len(vocab)), k=8)
        x = torch.stack([torch.full((3, 40, 40), float(k)) for k in kinds])
        y = torch.eye(len(vocab))[kinds]
        collage = other_class.Collage(1)
        collage.learn = SimpleNamespace(dls=SimpleNamespace(vocab=vocab), xb=(x,), yb=(y,))
        monkeypatch.setattr(other_class, 'is_single', lambda dls: False)
        collage.before_fit(); collage.before_batch()
        for picture, label in zip(*(b[0] for b in (collage.learn.xb, collage.learn.yb))):
            seen = {vocab[int(v)] for v in picture.unique()}
            told = {vocab[i] for i in label.nonzero()[:, 0].tolist()}
            if told == {OTHER}: assert seen == {OTHER}
            else: assert OTHER not in told and seen - {OTHER} <= told <= {vocab[k] for k in kinds}
        assert x.flatten(1).std(1).max() == 0 # the batch that came is as it was

# ---- calibration and thresholds ----

def test_thresholds_against_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(100):
        n = rng.integers(3, 40)
        p, y = rng.uniform(.05, .94, (n, 3)).round(rng.integers(1, 4)), rng.random((n, 3)) < .4 # with ties
        labels = ['a', OTHER, 'b']
        best = f1_thresholds(p, y, labels)
        f1 = lambda i, t: 2*((p[:, i] >= t) & y[:, i]).sum()/max(1, (p[:, i] >= t).sum() + y[:, i].sum())
        for i, label in enumerate(labels):
            assert 0 <= best[label] <= 1
            if y[:, i].any(): assert f1(i, best[label]) == max(f1(i, t) for t in np.r_[0, np.unique(p[:, i])])
        none = ~y[:, [0, 2]].any(1)
        for share in (1, .5, .1, 0):
            bound = bound_false_bears(p, y, labels, share)
            false = lambda t: answers(p, labels, t)[none][:, [0, 2]].any(1).sum()
            assert false(bound) <= np.ceil(share*none.sum())
            if false(best) <= np.ceil(share*none.sum()): assert bound == best # nothing to pay for
            assert bound[OTHER] == best[OTHER]

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
        assert _sigmoid(before.evidence.mean((1, 2))) == pytest.approx(expected.tolist(), abs=1e-4)

def test_other_beside_a_kind_is_no_answer():
    scores = evaluate([[.9, .9], [.2, .9]], [[1, 0], [0, 1]], ['grizzly', OTHER])
    assert scores.value['all', 'exact match'] == 1 and scores.value[OTHER, 'precision'] == 1

# ---- folds ----

def test_folds_share_no_picture_and_no_copy(drawn, tmp_path):
    from PIL import Image
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
    few = [Labelled(p.file, ('rare',)) for p in pictures[:1]] + pictures[4:]
    with pytest.raises(DataError, match='rare fall into one'): train.folds_of(few, 3)

def test_stopped_in_the_second_fold(drawn, tmp_path, monkeypatch, capsys):
    "The network of that fold becomes the model, scored on what it was not trained on."
    epochs = []
    def stop(self):
        epochs.append(self.epoch)
        if len(epochs) == 3: raise KeyboardInterrupt # two a fold
    monkeypatch.setattr(features.EpochLines, 'after_epoch', stop)
    scores = train.train(drawn, tmp_path/'stopped.onnx', epochs=2, folds=3)
    assert 'Stopped' in capsys.readouterr().out and Classifier(tmp_path/'stopped.onnx').card.stopped_early
    assert 0 < scores.n['all', 'exact match'] < len(read_labels(drawn))/2 and [f.name for f in tmp_path.iterdir()] == ['stopped.onnx']
