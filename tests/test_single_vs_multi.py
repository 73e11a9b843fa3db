"The comparison of classifiers, where a notebook is the wrong place: against known cases, with ties, and on inputs that cannot be compared."
from types import SimpleNamespace

import numpy as np, pytest

from bearclf.data import Labelled, read_labels
from bearclf.drawn import sample_images
from bearclf.evaluate import pooled
from bearclf.pictures import DataError, OTHER
from bearclf.single_vs_multi import compare, figures, read_said, separate_pairs, three_way, write_said
from said import BLACK, BOTH, GRIZZLY, LABELS, NONE, SILENT, said

def right_or_silent(right): return said([BLACK]*len(right), [BLACK if r else SILENT for r in right])

def test_the_interval_of_a_paired_difference():
    "Of n photographs b are right for the second alone and c for the first alone: the variance of the difference is (b+c - (b-c)^2/n)/n^2."
    n, b, c = 400, 60, 20
    first, second = np.ones(n, bool), np.ones(n, bool)
    first[:b], second[b:b+c] = False, False
    row = compare(right_or_silent(first), right_or_silent(second), n_boot=4000).loc['exact match']
    assert row.difference == pytest.approx((b-c)/n) and row.n == n
    assert row.high - row.low == pytest.approx(2*1.96*(b+c - (b-c)**2/n)**.5/n, rel=.06)

def test_what_is_hard_for_both_cancels_out():
    "Two that fail on the same photographs differ by nothing, for certain; two that fail as often, each on its own, do not."
    hard = np.arange(200) < 60
    same, apart = (compare(right_or_silent(~hard), right_or_silent(~other)).loc['exact match'] for other in (hard, hard[::-1]))
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert apart.difference == 0 and apart.low < -.05 and apart.high > .05

def test_turning_the_contestants_round_turns_the_interval_round():
    rng = np.random.default_rng(0)
    a, b = (right_or_silent(rng.random(100) < p) for p in (.6, .8))
    one, two = compare(a, b).loc['exact match'], compare(b, a).loc['exact match']
    assert (one.difference, one.low, one.high) == pytest.approx((-two.difference, -two.high, -two.low))

def test_macro_f1_and_map_as_scikit_learn_has_them():
    from sklearn.metrics import average_precision_score, f1_score
    rng = np.random.default_rng(1)
    y = np.eye(3, dtype=bool)[rng.integers(3, size=300)]
    probs = (y*.4 + rng.random(y.shape)).clip(0, 1).round(1) # full of ties
    o = said(y, probs >= .7, probs)
    assert figures(o)['macro F1'] == pytest.approx(f1_score(y[:, :2], probs[:, :2] >= .7, average='macro'))
    assert figures(o)['mAP'] == pytest.approx(average_precision_score(y, probs, average='macro'))

def test_ties_are_no_rank():
    "One that gives every picture the same probability ranks nothing: its AP is the share of the label, and no order of the pictures changes that."
    y = np.array([BLACK]*3 + [GRIZZLY]*2 + [NONE]*5, bool)
    for order in (np.arange(10), np.arange(10)[::-1]):
        assert figures(said(y[order], np.zeros((10, 3)), np.full((10, 3), .5)))['mAP'] == pytest.approx((.3 + .2 + .5)/3)

def test_false_bears_by_folder_and_pairs_by_kinds():
    o = said([NONE, NONE, NONE, BOTH, BOTH, BOTH], [BLACK, NONE, BOTH, BLACK, BOTH, NONE], folders=['general', 'toys', 'panda', '', '', ''])
    assert {k: v for k, v in figures(o).items() if 'F1' not in k and 'mAP' not in k} == pytest.approx({
        'exact match': 1/3, 'false bears, everyday': 1/2, 'false bears, polar bears and pandas': 1,
        'pairs, one found at least': 2/3, 'pairs, both found': 1/3, 'pairs, exact match': 1/3})

def test_photographs_and_pairs_are_resampled_apart():
    "Ten photographs, all right, and two pairs: no resample is without pairs, so no interval is lost or warned about."
    import warnings
    a = said([BLACK]*10 + [BOTH]*2, [BLACK]*10 + [BOTH, BLACK])
    b = said([BLACK]*10 + [BOTH]*2, [BLACK]*10 + [BOTH, BOTH])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        df = compare(a, b)
    assert (df.loc['pairs, exact match', ['difference', 'low', 'high', 'n']] == [.5, 0, 1, 2]).all()
    assert 'false bears, everyday' not in df.index and df.notna().all(axis=None)

def test_only_pairs_or_only_photographs():
    assert [*compare(said([BOTH], [BOTH]), said([BOTH], [BLACK])).index] == ['pairs, one found at least', 'pairs, both found', 'pairs, exact match']
    assert not any('pairs' in k for k in figures(said([BLACK], [BLACK])))
    assert figures(said([NONE], [NONE])) == {'exact match': 1, 'mAP': 1, 'false bears, everyday': 0} # no kind, no F1

@pytest.mark.parametrize('second, words', [
    (said([BLACK], [BLACK]), 'same pictures'), (said([BLACK, NONE], [BLACK, NONE]), 'same pictures'),
    (said([BLACK, GRIZZLY], [BLACK]*2, folders=['a', 'b']), 'same pictures'),
    (said([BLACK, GRIZZLY], [BLACK]*2)._replace(labels=['black_bear', 'panda', OTHER]), 'different labels')])
def test_contestants_that_cannot_be_compared(second, words):
    with pytest.raises(DataError, match=words): compare(said([BLACK, GRIZZLY], [BLACK, GRIZZLY]), second)
    if words == 'different labels':
        with pytest.raises(DataError, match='same labels'): pooled([said([BLACK, GRIZZLY], [BLACK]*2), second])

def test_nothing_to_compare():
    with pytest.raises(DataError, match='no pictures'): compare(said([], []), said([], []))
    with pytest.raises(DataError, match='pooled'): pooled([])

def test_said_survives_a_file_and_a_broken_file_is_one_sentence(tmp_path):
    o = said([BLACK, BOTH], [BLACK, BLACK], [[.123456, .2, .3], [.4, .5, .6]], ['grizzly photos', ''])
    write_said(tmp_path/'said.npz', {3: {'single': o, 'multi with collages': o}})
    back = read_said(tmp_path/'said.npz')
    assert [*back] == [3] and [*back[3]] == ['single', 'multi with collages']
    for a, b in zip(o[1:], back[3]['single'][1:]): assert np.array_equal(a, b) or np.allclose(a, b, atol=1e-7)
    assert back[3]['single'].labels == LABELS and compare(o, back[3]['single']).difference.abs().max() < 1e-6
    half = (tmp_path/'said.npz').read_bytes()
    for name, content in (('half', half[:len(half)//2]), ('text', b'no arrays'), ('empty', b'')):
        (tmp_path/name).write_bytes(content)
        with pytest.raises(DataError, match='does not hold'): read_said(tmp_path/name)
    np.savez(tmp_path/'else.npz', other=np.zeros(3))
    with pytest.raises(DataError, match='does not hold'): read_said(tmp_path/'else.npz')
    np.save(tmp_path/'pickle.npy', np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match='does not hold'): read_said(tmp_path/'pickle.npy')
    with pytest.raises(DataError, match='no folder'): write_said(tmp_path/'none'/'said.npz', {0: {'single': o}})

@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return [p for p in read_labels(sample_images(tmp_path_factory.mktemp('comparison')/'drawn', n=10)) if len(p.labels) == 1]

def test_no_picture_is_tested_on_twice_nor_its_copies_apart(pictures):
    "Five seeds test on each picture once; a copy lies where its original lies."
    from PIL import Image
    folder = pictures[0].file.parent
    copies = [Labelled(folder/f'copy {i}.jpg', p.labels) for i, p in enumerate(pictures[:5])]
    for p, c in zip(pictures, copies): Image.open(p.file).convert('RGB').resize((260, 260)).save(c.file, quality=60)
    both = [*pictures, *copies]
    try: splits = [three_way(both, seed) for seed in range(5)]
    finally:
        for c in copies: c.file.unlink()
    assert sorted(i for s in splits for i in s.test) == list(range(len(both)))
    for s in splits:
        assert sorted(s.train + s.valid + s.test) == list(range(len(both)))
        for i in range(5): assert any({i, len(pictures)+i} <= {*part} for part in s)

def test_a_picture_is_in_one_pair_at_most(pictures):
    for seed in range(5):
        files = [f for p in separate_pairs(pictures, seed) for f in p.files]
        assert len(files) == len({*files}) >= 26 # of the thirty with a kind
    with pytest.raises(DataError, match='two kinds'): separate_pairs([p for p in pictures if p.labels == (OTHER,)])

def test_a_training_that_is_stopped_is_no_contest(pictures, monkeypatch):
    from bearclf import single_vs_multi
    monkeypatch.setattr(single_vs_multi, 'fit', lambda *args, **kwargs: (None, True))
    with pytest.raises(single_vs_multi.TrainingError, match='stopped'): single_vs_multi.contest(SimpleNamespace(pictures=pictures))
