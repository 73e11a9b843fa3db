"Scores, thresholds and plots, against brute force and known cases."
import numpy as np, pytest

from bearclf.evaluate import (BETA, answers, bound_false_bears, called_what, evaluate, f1_thresholds, plot_called_what,
                              plot_precision_recall, plot_reliability, temperature)
from bearclf.pictures import DataError, OTHER
from said import BLACK, BOTH, GRIZZLY, NONE, SILENT, said

def test_thresholds_against_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(100):
        n = rng.integers(3, 40)
        p, y = rng.uniform(.05, .94, (n, 3)).round(rng.integers(1, 4)), rng.random((n, 3)) < .4 # with ties
        labels = ['a', OTHER, 'b']
        best = f1_thresholds(p, y, labels)
        free = bound_false_bears(p, y, labels, 1)
        f = lambda i, t, b: (1 + b**2)*((p[:, i] >= t) & y[:, i]).sum()/max(1, (p[:, i] >= t).sum() + b**2*y[:, i].sum())
        for i, label in enumerate(labels):
            assert 0 <= best[label] <= 1
            for at, b in ((best, 1), (free, 1 if label == OTHER else BETA)):
                highest = max(f(i, t, b) for t in np.r_[0, np.unique(p[:, i])])
                if y[:, i].any(): assert f(i, at[label], b) == highest
                else: assert at[label] == .5
        none = ~y[:, [0, 2]].any(1)
        for share in (1, .5, .1, 0):
            bound = bound_false_bears(p, y, labels, share)
            false = lambda t: answers(p, labels, t)[none][:, [0, 2]].any(1).sum()
            assert false(bound) <= share*none.sum() + 1e-9
            if false(free) <= share*none.sum() + 1e-9: assert bound == free # nothing to pay for
            assert bound[OTHER] == best[OTHER]

def test_other_beside_a_kind_is_no_answer():
    scores = evaluate([[.9, .9], [.2, .9]], [[1, 0], [0, 1]], ['grizzly', OTHER])
    assert scores.value['all', 'exact match'] == 1 and scores.value[OTHER, 'precision'] == 1

def test_false_bears_and_the_bootstrap():
    "The interval of a share of a half from n pictures is about 2 x 1.96 x sqrt(1/4n) wide."
    n = 400
    y = np.zeros((n, 2), int)
    probs = np.zeros((n, 2))
    probs[::2, 0] = .9
    row = evaluate(probs, y, ['grizzly', 'other'], n_boot=2000).loc[('all', 'false bears')]
    assert row.value == .5 and row.n == n
    assert row.high - row.low == pytest.approx(2*1.96*(1/(4*n))**.5, rel=.1)

def test_a_temperature_of_answers_that_are_all_right_stays_near_one():
    probs = np.tile([.8, .1, .1], (20, 1))
    y = np.tile([1, 0, 0], (20, 1))
    assert 1 < temperature(probs, y) < 3 and temperature(probs[:0], y[:0]) == 1
    many, rng = np.tile([.8, .1, .1], (2000, 1)), np.random.default_rng(0)
    right = np.eye(3)[rng.choice(3, 2000, p=[.5, .25, .25])] # it is less often right than it says
    sharper = many**temperature(many, right)
    assert sharper[0, 0]/sharper[0].sum() == pytest.approx(right[:, 0].mean(), abs=.01)

def test_pairs_of_few_photographs_are_told_with_wide_intervals():
    "Of 95 % intervals most hold the truth, where each photograph is hard or easy by itself."
    rng, n, held = np.random.default_rng(0), 10, dict(alone=0, shows=0)
    for _ in range(200):
        easy, pairs = rng.random(2*n) < .8, np.c_[rng.integers(n, size=100), n + rng.integers(n, size=100)]
        right = easy[pairs].all(1)[:, None]
        for name, shows in dict(alone=None, shows=pairs).items():
            row = evaluate(right*1., np.ones((100, 1)), ['grizzly'], n_boot=200, shows=shows).loc['all', 'exact match']
            held[name] += row.low <= .64 <= row.high
    assert held['alone'] < 140 and held['shows'] > 170, held

def test_a_label_without_pictures_and_one_called_all():
    scores = evaluate([[.9, .1], [.8, .3]], [[1, 0], [0, 0]], ['all', 'other'])
    assert scores.value['all', 'mAP'] == 1 and scores.n['all', 'exact match'] == 2
    assert np.isnan(scores.value['other', 'AP'])

def test_what_is_called_what():
    counts = called_what(said([BLACK, BOTH, NONE, SILENT], [GRIZZLY, SILENT, NONE, BOTH]))
    assert [*counts.index] == ['black_bear', OTHER, 'black_bear+grizzly', 'nothing']
    assert [*counts] == ['black_bear', 'grizzly', OTHER, 'black_bear+grizzly', 'nothing']
    assert counts.loc['black_bear', 'grizzly'] == counts.loc['nothing', 'black_bear+grizzly'] == 1 and counts.to_numpy().sum() == 4

def test_plots_say_what_they_show():
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    o = said([BLACK, GRIZZLY, NONE, BOTH], [BLACK, BLACK, NONE, GRIZZLY], [[.9, .1, 0], [.6, .4, .1], [.2, .1, .8], [.4, .7, .2]])
    for axes in (plot_precision_recall({'a': o, 'b': o}), [plot_reliability({'a': o, 'b': o})], [plot_called_what(called_what(o))]):
        assert all(ax.get_xlabel() for ax in axes) and axes[0].get_ylabel()
    error = (1.5 + 1.1 + .5)/4/3 # of the three labels: each distance, but the two .1 of grizzly lie in one bin
    assert [t.get_text() for t in plot_reliability({'a': o}).get_legend().get_texts()][1:] == [f'a (error {error:.3f})']
    matrix = plot_called_what(called_what(o))
    assert [t.get_text() for t in matrix.get_yticklabels()] == ['black_bear', 'grizzly', OTHER, 'black_bear+grizzly']
    plt.close('all')
    for plot in (plot_precision_recall, plot_reliability):
        for n in (0, 5):
            with pytest.raises(DataError, match='contestants'): plot({str(i): o for i in range(n)})
    with pytest.raises(DataError, match='No kind'): plot_precision_recall({'a': said([NONE], [NONE])})
