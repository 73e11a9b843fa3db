"The `other` class, collages, calibration and thresholds, where a notebook is the wrong place: interruptions, hostile folders, random cases against brute force."
import os, random
from types import SimpleNamespace

import numpy as np, pytest, torch

from bearclf import other_class
from bearclf.pictures import DataError, OTHER, picture_files
from tiny_model import card, tiny_model

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
