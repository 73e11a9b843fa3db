"""What each step of notebook 02 buys, on photographs held aside: the bare backbone, three kinds alone, `other` at random, mined negatives, collages, thresholds, everything.

    python benchmarks/ablation.py IMAGES [--seeds 0 1 2 3 4]      # about fifteen minutes on two cores

IMAGES holds a folder for each kind and `other`, whose pictures are the pool of negatives; its subfolders `polar` and `panda` are told apart.
The pictures are dealt over five folds. Each seed takes another to test on and the next to choose calibration and thresholds on, and trains on the
other three. Writes benchmarks/results/ablation.json (or --out)."""
import argparse, json, shlex, sys, tempfile
from pathlib import Path

import numpy as np, pandas as pd

from bare import write_bare
from bearclf.data import data_hash, read_labels
from bearclf.pictures import OTHER
from bearclf.evaluate import answers, file_probs, targets_of
from bearclf.export import export_onnx
from bearclf.evaluate import calibrated, choose_thresholds, pair_up, platt, wilson
from bearclf.features import fit, see
from bearclf.inference import Classifier
from bearclf.other_class import mine
from bearclf.train import folds_of, groups_of

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('images', type=Path)
parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4], choices=range(5))
parser.add_argument('--negatives', type=int, default=100, help='pictures of `other` in the arms before the last (default: %(default)s)')
parser.add_argument('--pairs', type=int, default=200, help='two-kind pictures to test on (default: %(default)s)')
parser.add_argument('--out', type=Path, default=Path(__file__).parent/'results'/'ablation.json')
args = parser.parse_args()
pictures = read_labels(args.images)
kinds = sorted({label for p in pictures for label in p.labels} - {OTHER})

def outcomes(probs, labels, thresholds, test, pair_probs, pairs):
    "What became of each test picture: {column: list of 0 and 1}."
    said, pair_said = (answers(p, list(labels), thresholds) for p in (probs, pair_probs))
    y, pair_y = (targets_of([o.labels for o in part], labels) for part in (test, pairs))
    bear = np.array([label != OTHER for label in labels])
    hard = np.array([{'polar', 'panda'} & {*p.file.relative_to(args.images).parts} != set() for p in test])
    none, right = np.array([p.labels == (OTHER,) for p in test]), (said == y)[:, bear].all(1)
    res = {f'recall {k}': said[y[:, i] == 1, i] for i, k in enumerate(labels) if k != OTHER}
    return res | {'false bears, everyday': ~right[none & ~hard], 'false bears, polar and panda': ~right[none & hard],
                  'exact match, one kind': right[~none],
                  **{f'exact match, {how}': (pair_said == pair_y)[[p.above == above for p in pairs]][:, bear].all(1)
                     for how, above in (('side by side', False), ('one above the other', True))}}

splits = folds_of(pictures, 5)
views = see(pictures, groups_of(splits))

def arms(seed, tmp):
    "Each arm's name and outcomes."
    parts = [splits[seed][1], splits[(seed+1) % 5][1]]
    test, val = ([pictures[i] for i in part] for part in parts)
    train = sorted({*range(len(pictures))} - {*parts[0], *parts[1]})
    bears, pool = ([i for i in train if (pictures[i].labels == (OTHER,)) == is_pool] for is_pool in (False, True))
    pairs, val_pairs = pair_up(test, args.pairs, seed), pair_up(val, args.pairs, seed+100)

    def run(name, negatives, collages):
        watched = [i for i in parts[1] if negatives or pictures[i].labels != (OTHER,)]
        learn, _ = fit(views, (bears + negatives, watched), collages=collages, seed=seed)
        model = tmp/f'{name}.onnx'
        export_onnx(learn, model)
        labels = list(learn.dls.vocab)
        ask = lambda ps, prs: (file_probs(model, [p.file for p in ps]), file_probs(model, (p.joined() for p in prs)))
        return model, labels, ask(test, pairs), ask(val, val_pairs) if OTHER in labels else None

    def settled(labels, on_test, on_val):
        y, pair_y = targets_of([p.labels for p in val], labels), targets_of([p.labels for p in val_pairs], labels)
        change = platt(on_val[0], y)
        (probs, of_pairs), (v, vp) = ([calibrated(p, *change) for p in o] for o in (on_test, on_val))
        return outcomes(probs, labels, choose_thresholds(v, y, vp, pair_y, labels)['false bears about 2 %'], test, of_pairs, pairs)

    bare = write_bare(tmp/'bare.onnx')
    labels = Classifier(bare).labels
    yield 'the bare backbone', outcomes(file_probs(bare, [p.file for p in test]), labels, .5, test, file_probs(bare, (p.joined() for p in pairs)), pairs)
    three, labels, (p, pp), _ = run('three', [], False)
    yield 'three kinds alone', outcomes(p, labels, .5, test, pp, pairs)
    rng = np.random.default_rng(seed)
    at_random = [pool[i] for i in rng.permutation(len(pool))[:args.negatives]]
    _, labels, (p, pp), _ = run('random', at_random, False)
    yield 'other at random', outcomes(p, labels, .5, test, pp, pairs)
    (folder := tmp/'pool').mkdir()
    links = {folder/f'{i}{pictures[i].file.suffix}': i for i in pool}
    for link, i in links.items(): link.symlink_to(pictures[i].file.resolve())
    worst = [links[f] for f in mine(three, folder).index[:args.negatives]]
    _, labels, (p, pp), _ = run('mined', worst, False)
    yield 'other mined', outcomes(p, labels, .5, test, pp, pairs)
    _, labels, on_test, on_val = run('collages', worst, True)
    yield 'mined, collages', outcomes(on_test[0], labels, .5, test, on_test[1], pairs)
    yield 'mined, collages, thresholds', settled(labels, on_test, on_val)
    _, labels, on_test, on_val = run('all', pool, True)
    yield 'all negatives, collages, thresholds', settled(labels, on_test, on_val)

rows, per_seed = {}, {}
for seed in args.seeds:
    with tempfile.TemporaryDirectory() as tmp:
        for arm, result in arms(seed, Path(tmp)):
            for column, hits in result.items(): rows.setdefault((arm, column), []).append(np.asarray(hits, float).tolist())
            per_seed.setdefault(str(seed), {})[arm] = {k: round(float(np.mean(v)), 4) for k, v in result.items()}
            print(seed, arm, per_seed[str(seed)][arm], flush=True)

def interval(seeds, n=2000):
    """Mean over the seeds, with the 95 % interval of a bootstrap over seeds and, within them, pictures (Davison & Hinkley, 1997, section 3.8);
    by Wilson where that has no width. Pairs share photographs, which it does not know: their intervals are a little narrow."""
    rng = np.random.default_rng(0)
    draws = [np.mean([np.mean(rng.choice(seeds[i], len(seeds[i]))) for i in rng.integers(len(seeds), size=len(seeds))]) for _ in range(n)]
    low, high = np.quantile(draws, (.025, .975))
    if low == high: low, high = wilson(sum(map(sum, seeds)), sum(map(len, seeds)))
    return [round(float(v), 4) for v in (np.mean([np.mean(s) for s in seeds]), low, high)]

table = {}
for (arm, column), seeds in rows.items(): table.setdefault(arm, {})[column] = interval(seeds)
args.out.write_text(json.dumps(dict(command=shlex.join(['python', 'benchmarks/ablation.py', *sys.argv[1:]]), data=data_hash(pictures),
                                    columns=['mean', 'low', 'high'], table=table, seeds=per_seed), indent=1) + '\n')
print(pd.DataFrame({arm: {c: '{:.3f} ({:.3f}-{:.3f})'.format(*v) for c, v in row.items()} for arm, row in table.items()}).T.to_string())
