"""Quality of `bearclf train`'s recipe on photographs held aside, over several seeds (each its own split, training and file).

    python benchmarks/quality.py IMAGES --seeds 42 1 2      # trains; minutes a seed
    python benchmarks/quality.py IMAGES --seeds 42 --model bearclf/models/bears.onnx   # scores a model that was trained with that seed

IMAGES is the folder that was trained on; the fifth held aside follows from the seed. Writes benchmarks/results/quality.json (or --out)."""
import argparse, json, shlex, sys, tempfile
from pathlib import Path

import pandas as pd

from bearclf.data import OTHER, data_hash, read_labels
from bearclf.inference import Classifier
from bearclf.multilabel import bear_dataloaders, file_scores, train

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('images', type=Path)
parser.add_argument('--seeds', type=int, nargs='+', default=[42, 1, 2])
parser.add_argument('--epochs', type=int, default=4)
parser.add_argument('--model', type=Path, help='score this file in place of training')
parser.add_argument('--out', type=Path, default=Path(__file__).parent/'results'/'quality.json')
args = parser.parse_args()
pictures = read_labels(args.images)

def held_aside(seed):
    valid = set(bear_dataloaders(pictures, seed=seed).valid_ds.items)
    return [p for p in pictures if p.file in valid]

def part(p):
    "`other/polar` and the like, to see which pictures without a bear are called one."
    return '/'.join(p.file.relative_to(args.images).parts[:-1])

SWEEP = (.15, .2, .25, .3, .35, .4, .5) # one threshold for all labels, to choose the one that the recipe sets
runs = {}
with tempfile.TemporaryDirectory() as tmp:
    for seed in args.seeds:
        model, held = args.model or Path(tmp)/f'{seed}.onnx', held_aside(seed)
        if not args.model: train(args.images, model, epochs=args.epochs, seed=seed)
        scores, classifier, wrong = file_scores(model, held), Classifier(model), []
        none = {}
        for p in held:
            answer = classifier.predict(p.file)
            if set(answer.labels) != set(p.labels): wrong.append(dict(file=str(p.file.relative_to(args.images)), called=list(answer.labels)))
            if set(p.labels) <= {OTHER}: none.setdefault(part(p), []).append(bool(set(answer.labels) - {OTHER}))
        sweep = {t: file_scores(model, held, thresholds=t, n_boot=1).value for t in SWEEP} if classifier.card.multi_label else {}
        runs[seed] = dict(scores={' '.join(k): v for k,v in scores.dropna().round(4).T.to_dict('list').items()},
                          false_bears={k: [sum(v), len(v)] for k,v in sorted(none.items())}, wrong=wrong,
                          thresholds={t: {' '.join(k): round(v, 4) for k,v in values.items() if k[1] in ('recall', 'exact match', 'false bears')}
                                      for t,values in sweep.items()})
        print(pd.DataFrame(runs[seed]['thresholds']).round(3).to_string())
        print(f'seed {seed}\n{scores.round(3).to_string()}\nfalse bears {runs[seed]["false_bears"]}', flush=True)

table = pd.DataFrame({seed: {k: v[0] for k,v in run['scores'].items()} for seed,run in runs.items()})
print(table.assign(mean=table.mean(axis=1)).round(3).to_string())
args.out.write_text(json.dumps(dict(command=shlex.join(['python', 'benchmarks/quality.py', *sys.argv[1:]]), data=data_hash(pictures),
                                    columns=['value', 'low', 'high', 'n'], runs=runs), indent=1) + '\n')
