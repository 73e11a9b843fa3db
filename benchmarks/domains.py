"""Where the model is right: photographs from the web, of the wild, of other bears, of dogs and of everything else, row by row.

    python benchmarks/domains.py --photos photos --corrections benchmarks/corrections.csv
    python benchmarks/domains.py --photos photos --corrections benchmarks/corrections.csv --all --tuning 8

Every third photograph of each folder is set aside; on the others `bearclf train` works as it always does. Beside the model stands what one could
take instead: the backbone with ImageNet's own thousand classes, its first choice. The corrections are applied to what trains, and not to
what is set aside. With --all nothing is set aside, and each photograph is judged by the fold that did not train on it.
Writes benchmarks/results/domains.json, or domains_all.json, after each seed.
"""
import argparse, json, shlex, sys, tempfile
from pathlib import Path

import numpy as np

from bare import write_bare
from bearclf.data import Labelled, data_hash
from bearclf.evaluate import answers, evaluate, pair_up, photographs_of, wilson
from bearclf.inference import Classifier
from bearclf.multilabel import ARCH
from bearclf.pictures import KINDS, OTHER, OTHER_BEAR, open_picture, picture_files
from bearclf.train import train

BEARS = 'polar', 'panda', 'asian_black_bear', 'sloth_bear', 'sun_bear', 'spectacled_bear'
ROWS = {'wild black bears': ('wild/black_bear',), 'wild grizzlies': ('wild/grizzly',), 'web black bears': ('images/black_bear',),
        'web grizzlies': ('images/grizzly',), 'web teddies': ('images/teddys',), 'sun bears': ('lookalikes/sun_bear',),
        'sloth bears': ('lookalikes/sloth_bear',), 'spectacled bears': ('lookalikes/spectacled_bear',),
        'Asian black bears': ('lookalikes/asian_black_bear',), 'polar bears': ('lookalikes/polar', 'pool/polar'),
        'pandas': ('lookalikes/panda', 'pool/panda'), 'everyday things': ('everyday/thing', 'pool/general'), 'hot dogs': ('everyday/hotdog',),
        'dogs, cats, other animals': ('lookalikes/dog', 'lookalikes/cat', 'lookalikes/animal', 'lookalikes/sign')}


def label_of(folder): return folder if folder in KINDS else OTHER_BEAR if folder in BEARS else OTHER


def photographs(root, bears, everything=False):
    "Link those to train on into the folder `bears`; gives those set aside, as `Labelled`, and the folder of each as a row knows it."
    aside, where = [], {}
    for folder in sorted({f for row in ROWS.values() for f in row}):
        label = label_of(Path(folder).name)
        for i, f in enumerate(picture_files(root/folder)):
            if i % 3 == 2 and not everything:
                aside.append(Labelled(f, (label,)))
                where[f] = folder
            else:
                link = bears/label/folder.replace('/', '_')/f.name
                where[link] = folder
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(f.resolve())
    return aside, where


def called(model, pictures):
    "Which kinds the file `model` finds in each picture, or file, (pictures, kinds) of bool."
    results = Classifier(model).predict_files(pictures, len(pictures), progress=False)
    return np.array([[k in r.prediction.labels for k in KINDS] for r in results])


def grey(file): return open_picture(file).convert('L').convert('RGB')


def called_held(probs, card):
    "The same for pictures held aside, of which the model said `probs`."
    return answers(probs, card.labels, card.thresholds)[:, [card.labels.index(k) for k in KINDS]]


def rows(said, pictures, where):
    "Each row: hits (exactly right, or else called a kind) of how many, the share and its interval."
    res = {}
    for name, folders in ROWS.items():
        those = [i for i, p in enumerate(pictures) if where[p.file] in folders]
        kind = label_of(Path(folders[0]).name)
        wanted = [k == kind for k in KINDS]
        hit = (said[those] == wanted).all(1) if kind in KINDS else said[those].any(1)
        res[name] = dict(what='exactly right' if kind in KINDS else 'called a kind', hits=int(hit.sum()), of=len(hit),
                         share=round(float(hit.mean()), 4), interval=[round(float(o), 3) for o in wilson(hit.sum(), len(hit))])
    return res


def inset(pair, n):
    "The second of a pair in a corner of the first, a third to nearly half of its sides; which corner and how small says `n`."
    large, small = (open_picture(f, at_least=448) for f in pair.files)
    share, frame = .33 + .15*(n % 10)/9, large.copy()
    w, h = (max(1, round(share*s)) for s in large.size)
    frame.paste(small.resize((w, h)), ((large.width - w)*(n % 2), (large.height - h)*(n//2 % 2)))
    return frame


def pairs_right(said, pairs):
    "The share of pairs exactly right, beside and above one another, each with its interval."
    return {name: exactly_right(*zip(*((s, p) for s, p in zip(said, pairs) if p.above == above)))
            for name, above in dict(beside=False, above=True).items()}


def exactly_right(said, pairs):
    "The share of pairs, or insets, of which all is right, and its interval, which knows that they share photographs."
    right = (np.array(said) == [[k in p.labels for k in KINDS] for p in pairs]).all(1, keepdims=True)
    row = evaluate(right, np.ones(right.shape), ['right'], shows=photographs_of(pairs)).loc['all', 'exact match']
    return [round(float(row[o]), 3) for o in ('value', 'low', 'high')]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--photos', type=Path, required=True)
    p.add_argument('--corrections')
    p.add_argument('--arch', default='tf_efficientnet_lite2')
    p.add_argument('--folds', type=int, default=4)
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--tuning', type=int, default=0)
    p.add_argument('--all', action='store_true')
    args = p.parse_args()
    out = Path(__file__).parent/'results'/('domains_all.json' if args.all else 'domains.json')
    with tempfile.TemporaryDirectory() as d:
        bears, model = Path(d)/'bears', Path(d)/'model.onnx'
        aside, where = photographs(args.photos, bears, args.all)
        judged = aside or [Labelled(f, (label_of(Path(folder).name),)) for f, folder in where.items()]
        pairs = pair_up(judged, 200)
        def measured(model):
            insets = called(model, [inset(p, n) for n, p in enumerate(pairs)])
            return dict(rows=rows(called(model, [p.file for p in judged]), judged, where),
                        without_colours=rows(called(model, [grey(p.file) for p in judged]), judged, where),
                        pairs=pairs_right(called(model, [p.joined() for p in pairs]), pairs),
                        insets=exactly_right(insets, pairs))
        res = dict(command=shlex.join(['python', *sys.argv]), photographs=len(judged), judged=data_hash(judged),
                   bare={ARCH: measured(write_bare(Path(d)/'bare.onnx'))}, seeds={})
        for seed in range(args.seeds):
            scores = train(bears, model, args.arch, folds=args.folds, seed=seed, corrections=args.corrections, tuning=args.tuning)
            card, held = Classifier(model).card, scores.attrs['held']
            found = measured(model) if aside else dict(rows=rows(called_held(held.probs, card), held.pictures, where),
                                                       pairs=pairs_right(called_held(held.pair_probs, card), held.pairs))
            res['seeds'][seed] = dict(train=card.data, thresholds=card.thresholds, **found)
            out.write_text(json.dumps(res, indent=1) + '\n')
            print(seed, {k: v['share'] for k, v in found['rows'].items()}, found['pairs'], flush=True)


if __name__ == '__main__': main()
