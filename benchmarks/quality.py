"""Quality of `bearclf train`'s recipe on photographs held aside, by cross-validation: scores, and every wrong answer.

    python benchmarks/quality.py IMAGES --model bears.onnx [--folds 4]      # about ten minutes on two cores

It calls `train`, as `bearclf train IMAGES --folds 4 --out bears.onnx` does, and so gives the same model. IMAGES/other may hold subfolders, whose
false bears are counted apart. Writes benchmarks/results/quality.json (or --out)."""
import argparse, json, shlex, sys
from pathlib import Path

from bearclf.data import data_hash, read_labels
from bearclf.pictures import OTHER
from bearclf.inference import Classifier
from bearclf.evaluate import answers, evaluate, targets_of
from bearclf.train import train

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('images', type=Path)
parser.add_argument('--model', type=Path, required=True, help='the model file to write')
parser.add_argument('--folds', type=int, default=4)
parser.add_argument('--seed', type=int, default=42)
parser.add_argument('--out', type=Path, default=Path(__file__).parent/'results'/'quality.json')
args = parser.parse_args()

command = f'bearclf train {args.images} --folds {args.folds} --out {args.model}'
scores = train(args.images, args.model, folds=args.folds, seed=args.seed, command=command)
held, card = scores.attrs['held'], Classifier(args.model).card
labels = list(card.labels)
named = lambda row: [label for label, yes in zip(labels, row) if yes]
results = {}
for choice, thresholds in card.threshold_sets.items():
    said, pair_said = (answers(p, labels, thresholds) for p in (held.probs, held.pair_probs))
    y, pair_y = (targets_of([o.labels for o in part], labels) for part in (held.pictures, held.pairs))
    none = {}
    for p, s in zip(held.pictures, said):
        if p.labels == (OTHER,): none.setdefault('/'.join(p.file.relative_to(args.images).parts[:-1]), []).append(bool({*named(s)} - {OTHER}))
    table = evaluate(held.probs, y, labels, thresholds)
    table.loc[('pairs', 'exact match'), :] = evaluate(held.pair_probs, pair_y, labels, thresholds).loc[('all', 'exact match')]
    results[choice] = dict(thresholds=thresholds, scores={' '.join(k): v for k, v in table.dropna().round(4).T.to_dict('list').items()},
                           false_bears={k: [sum(v), len(v)] for k, v in sorted(none.items())},
                           pairs={how: [int(sum(r)), len(r)] for how, above in (('side by side', False), ('one above the other', True))
                                  for r in [[bool((s == t).all()) for p, s, t in zip(held.pairs, pair_said, pair_y) if p.above == above]]},
                           wrong=[dict(file=str(p.file.relative_to(args.images)), called=named(s), probs=q.round(3).tolist())
                                  for p, s, t, q in zip(held.pictures, said, y, held.probs) if (s != t).any()],
                           wrong_pairs=[dict(labels=list(p.labels), above=p.above, called=named(s), probs=q.round(3).tolist())
                                        for p, s, t, q in zip(held.pairs, pair_said, pair_y, held.pair_probs) if (s != t).any()])
    print(f'{choice}: {thresholds}\n{table.round(3).to_string()}\nfalse bears {results[choice]["false_bears"]}, pairs {results[choice]["pairs"]}', flush=True)
args.out.write_text(json.dumps(dict(command=shlex.join(['python', 'benchmarks/quality.py', *sys.argv[1:]]), data=data_hash(read_labels(args.images)),
                                    labels=labels, columns=['value', 'low', 'high', 'n'], calibration_error=card.calibration_error,
                                    in_use=next(k for k, v in card.threshold_sets.items() if v == card.thresholds), results=results), indent=1) + '\n')
