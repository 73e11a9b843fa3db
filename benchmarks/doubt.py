"""Of photographs put under a wrong label on purpose, how many does `Cleaner` show first?

    python benchmarks/doubt.py --photos ../shared/photos/images

Writes benchmarks/results/doubt.json. The photographs are copied to a temporary folder. The model that ships has learned from them, under
their right labels, so a model trained on the very mistakes that it is to find would find fewer. Those that benchmarks/corrections.csv gives other
labels stay out: under the labels of their folders they are doubtful by right."""
import argparse, json, random, shlex, shutil, sys, tempfile
from pathlib import Path

from bearclf.clean import Cleaner
from bearclf.inference import Classifier
from bearclf.labels import read_corrections
from bearclf.pictures import picture_files, sha256

CORRECTED = read_corrections(Path(__file__).with_name('corrections.csv'))

def spoil(root, n, rng):
    "Move `n` pictures of the set `root` to a wrong label; gives them."
    labels = sorted(d.name for d in root.iterdir() if d.is_dir())
    wrong = set()
    for f in rng.sample(picture_files(root), n):
        to = root/rng.choice([l for l in labels if l != f.parent.name])/f'{f.parent.name} {f.name}'
        wrong.add(f.rename(to))
    return wrong

def found(photos, n, model, seed):
    "How many of `n` wrong ones are among the first 24, `n`, 2`n`."
    with tempfile.TemporaryDirectory() as d:
        root = Path(d)/'images'
        shutil.copytree(photos, root)
        for f in picture_files(root):
            if sha256(f) in CORRECTED: f.unlink()
        wrong = spoil(root, n, random.Random(seed))
        hits = [o.file in wrong for o in Cleaner(root, model).pictures]
        return {f'first {k}': sum(hits[:k]) for k in (24, n, 2*n)} | dict(pictures=len(hits))

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', required=True)
    parser.add_argument('--wrong', type=int, default=40)
    args, model = parser.parse_args(), Classifier()
    res = dict(command=shlex.join(['python', 'benchmarks/doubt.py', *sys.argv[1:]]), model=model.card.name, created=model.card.created, wrong=args.wrong,
               seeds={seed: found(args.photos, args.wrong, model, seed) for seed in range(5)})
    (Path(__file__).with_name('results')/'doubt.json').write_text(json.dumps(res, indent=1) + '\n')
    print(json.dumps(res, indent=1))
