"""Where the model is right: photographs from the web, of the wild, of other bears, of dogs and of everything else, row by row.

    python benchmarks/domains.py --photos photos --corrections benchmarks/corrections.csv

Every third photograph of each folder is set aside; the others train (a fifth of them chooses thresholds). Beside the model stands what one could
take instead: the backbone with ImageNet's own thousand classes, its first choice. The corrections are applied to what trains, and not to
what is set aside. Writes benchmarks/results/domains.json after each seed.
"""
import argparse, json, shlex, sys, tempfile
from pathlib import Path

import numpy as np, timm, torch
from PIL import Image

from bearclf.data import Labelled, data_hash, read_corrections
from bearclf.evaluate import answers, calibrated, choose_thresholds, file_probs, pair_probs, pair_up, platt, targets_of, wilson
from bearclf.export import export_onnx
from bearclf.features import fit, see
from bearclf.multilabel import ARCH, hold_aside, packaged_weights
from bearclf.pictures import DECODE_SIDE, KINDS, OTHER, OTHER_BEAR, open_picture, picture_files, sha256
from bearclf.train import groups_of

BEARS = 'polar', 'panda', 'asian_black_bear', 'sloth_bear', 'sun_bear', 'spectacled_bear'
ROWS = {'wild black bears': ('wild/black_bear',), 'wild grizzlies': ('wild/grizzly',), 'web black bears': ('images/black_bear',),
        'web grizzlies': ('images/grizzly',), 'web teddies': ('images/teddys',), 'sun bears': ('lookalikes/sun_bear',),
        'sloth bears': ('lookalikes/sloth_bear',), 'spectacled bears': ('lookalikes/spectacled_bear',),
        'Asian black bears': ('lookalikes/asian_black_bear',), 'polar bears': ('lookalikes/polar', 'pool/polar'),
        'pandas': ('lookalikes/panda', 'pool/panda'), 'everyday things': ('everyday/thing', 'pool/general'), 'hot dogs': ('everyday/hotdog',),
        'dogs, cats, other animals': ('lookalikes/dog', 'lookalikes/cat', 'lookalikes/animal', 'lookalikes/sign')}
CLASSES = {295: 'black_bear', 294: 'grizzly', 850: 'teddys'} # of ImageNet


def label_of(folder): return folder if folder in KINDS else OTHER_BEAR if folder in BEARS else OTHER


def photographs(root):
    "Those to train on and those set aside, as `Labelled`; the folder of each file as a row knows it."
    train, aside, where = [], [], {}
    for folder in sorted({f for row in ROWS.values() for f in row}):
        for i, f in enumerate(picture_files(root/folder)):
            (aside if i % 3 == 2 else train).append(Labelled(f, (label_of(Path(folder).name),)))
            where[f] = folder
    return sorted(train), aside, where


def bare(arch, files, side=256):
    "What the bare backbone's first choice makes of each file, (files, kinds) of bool."
    net = timm.create_model(arch)
    net.load_state_dict(packaged_weights(arch))
    res = []
    with torch.no_grad():
        for f in files:
            x = np.asarray(open_picture(f, at_least=DECODE_SIDE).resize((side, side), Image.BILINEAR), np.float32)/127.5 - 1
            res.append(CLASSES.get(int(net.eval()(torch.from_numpy(x).permute(2, 0, 1)[None]).argmax())))
    return targets_of([[o] for o in res], KINDS).astype(bool)


def rows(called, aside, where):
    "Each row: hits (exactly right, or else called a kind) of how many, the share and its interval."
    res = {}
    for name, folders in ROWS.items():
        those = [i for i, p in enumerate(aside) if where[p.file] in folders]
        kind = label_of(Path(folders[0]).name)
        wanted = [k == kind for k in KINDS]
        hit = (called[those] == wanted).all(1) if kind in KINDS else called[those].any(1)
        res[name] = dict(what='exactly right' if kind in KINDS else 'called a kind', hits=int(hit.sum()), of=len(hit),
                         share=round(float(hit.mean()), 4), interval=[round(float(o), 3) for o in wilson(hit.sum(), len(hit))])
    return res


def one_seed(views, split, arch, seed, aside, pairs):
    "What a model with this seed calls the photographs set aside, (photographs, kinds) of bool, its thresholds, and pairs exactly right."
    learn, _ = fit(views, split, arch=arch, seed=seed)
    labels, valid = list(learn.dls.vocab), [views.pictures[i] for i in split[1]]
    with tempfile.TemporaryDirectory() as d:
        export_onnx(learn, Path(d)/'m.onnx', int8=True, arch=arch)
        y, probs = targets_of([p.labels for p in valid], labels), file_probs(Path(d)/'m.onnx', [p.file for p in valid])
        vp, vy = pair_probs(Path(d)/'m.onnx', pair_up(valid, len(valid)//2, seed))
        how = platt(probs, y)
        thresholds = choose_thresholds(calibrated(probs, *how), y, calibrated(vp, *how), vy, labels)['false bears at most 1 %']
        said = answers(calibrated(file_probs(Path(d)/'m.onnx', [p.file for p in aside]), *how), labels, thresholds)
        p, py = pair_probs(Path(d)/'m.onnx', pairs)
        right = (answers(calibrated(p, *how), labels, thresholds) == py).all(1)
    above = np.array([o.above for o in pairs])
    return said[:, [labels.index(k) for k in KINDS]], thresholds, dict(beside=round(float(right[~above].mean()), 3), above=round(float(right[above].mean()), 3))


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--photos', type=Path, required=True)
    p.add_argument('--corrections')
    p.add_argument('--arch', default='tf_efficientnet_lite2')
    p.add_argument('--seeds', type=int, default=3)
    args = p.parse_args()
    train, aside, where = photographs(args.photos)
    other = read_corrections(args.corrections) if args.corrections else {}
    train = [Labelled(p.file, other.get(sha256(p.file), p.labels)) for p in train]
    pairs = pair_up([p for p in aside if p.labels[0] in KINDS], 200)
    res = dict(command=shlex.join(['python', *sys.argv]), train=data_hash(train), aside=data_hash(aside), photographs=[len(train), len(aside)],
               bare={f'{ARCH} at 256': rows(bare(ARCH, [p.file for p in aside]), aside, where)}, seeds={})
    out = Path(__file__).parent/'results'/'domains.json'
    split = hold_aside(train)
    views = see(train, groups_of([split, split[::-1]]), args.arch)
    for seed in range(args.seeds):
        called, thresholds, two = one_seed(views, split, args.arch, seed, aside, pairs)
        res['seeds'][seed] = dict(rows=rows(called, aside, where), thresholds=thresholds, pairs=two)
        out.write_text(json.dumps(res, indent=1))
        print(seed, {k: v['share'] for k, v in res['seeds'][seed]['rows'].items()}, two, flush=True)


if __name__ == '__main__': main()
