"""The single-label twin against the multi-label network, with and without collages: same photographs, parts, augmentation and epochs.

    python benchmarks/single_vs_multi.py IMAGES                 # seeds 0 to 4: each photograph is tested on once

IMAGES holds a folder for each label; below `other`, folders `polar` and `panda` are counted apart from the everyday pictures. For each seed a
fifth of the photographs is the test part, another fifth chooses thresholds and calibration, the rest is trained on; no two seeds share test
photographs.

Writes benchmarks/results/single_vs_multi.json (or --out) and, beside it, single_vs_multi.npz: what each network said of each test photograph and
pair, with the labels and the folder's name, from which nbs/03_single_vs_multi.ipynb draws its plots. Both are written anew after each seed."""
import argparse, json, shlex, sys
from collections import Counter
from pathlib import Path

from bearclf.data import data_hash, read_labels
from bearclf.pictures import BearclfError, check_writable, whole_file
from bearclf.evaluate import expected_calibration_error
from bearclf.evaluate import pooled
from bearclf.single_vs_multi import CONTESTANTS, compare, contest, figures, views_of_fifths, write_said

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('images', type=Path)
parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4], choices=range(5), help='each is tested on a fifth of its own')
parser.add_argument('--epochs', type=int, default=8)
parser.add_argument('--out', type=Path, default=Path(__file__).parent/'results'/'single_vs_multi.json')
args = parser.parse_args()

def scores(said):
    "`figures`, with the calibration error on the photographs."
    one = said.only(~said.pairs)
    return {k: round(v, 4) for k, v in (figures(said) | {'calibration error': expected_calibration_error(one.probs, one.targets)}).items()}

def against_twin(run):
    "`compare` of each other contestant with the twin, as lists."
    return {name: compare(run['single'], said).round(4).T.to_dict('list') for name, said in run.items() if name != 'single'}

def write(runs, pictures):
    "Write what there is so far."
    together = {name: pooled([run[name] for run in runs.values()]) for name in CONTESTANTS}
    write_said(args.out.with_suffix('.npz'), runs)
    res = dict(command=shlex.join(['python', 'benchmarks/single_vs_multi.py', *sys.argv[1:]]), data=data_hash(pictures),
               pictures=dict(sorted(Counter(p.file.parent.name for p in pictures).items())), epochs=args.epochs,
               columns=['single', 'multi-label', 'difference', 'low', 'high', 'n'],
               per_seed={seed: {name: scores(said) for name, said in run.items()} for seed, run in runs.items()},
               all_seeds={name: scores(said) for name, said in together.items()},
               difference_per_seed={seed: against_twin(run) for seed, run in runs.items()}, difference_all_seeds=against_twin(together))
    with whole_file(args.out) as part: part.write_text(json.dumps(res, indent=1) + '\n')
    return together

try:
    check_writable(args.out)
    pictures, runs = read_labels(args.images), {}
    views = views_of_fifths(pictures)
    for seed in dict.fromkeys(args.seeds):
        runs[seed] = {name: said for name, (_, said) in contest(views, seed, args.epochs).items()}
        together = write(runs, pictures)
        for name in CONTESTANTS: print(f'seed {seed}, {name}: {scores(runs[seed][name])}', flush=True)
    for name in [*CONTESTANTS][1:]:
        print(f"\nsingle and {name}, seeds {args.seeds}\n{compare(together['single'], together[name]).round(3).to_string()}")
except BearclfError as e: sys.exit(str(e))
