"""How much sooner `bearclf train` is done than the post's recipe: both over the same photographs, in turn, each a command of its own.

    python benchmarks/training.py --photos photos/images

The post's: fastai's import, `vision_learner(dls, resnet18)`, `fine_tune(4)` (five epochs), with nothing of ours. Its weights are left to chance,
as they can't be fetched everywhere: that changes no time, but its scores would say nothing. Ours goes from folder to checked model file; its
scores are those of its held-aside fifth, as in the card. The first time it makes the backbone's file, and then finds it. Writes
benchmarks/results/training.json.
"""
import argparse, json, os, platform, shlex, statistics, subprocess, sys, tempfile, time
from pathlib import Path

from bearclf.data import data_hash, read_labels
from bearclf.inference import Classifier

POST = """
import sys
from functools import partial
from fastai.vision.all import *
bears = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), get_items=get_image_files, splitter=RandomSplitter(valid_pct=0.2, seed=42),
                  get_y=lambda f: [parent_label(f)], item_tfms=RandomResizedCrop(224, min_scale=0.5), batch_tfms=aug_transforms())
learn = vision_learner(bears.dataloaders(sys.argv[1]), resnet18, metrics=partial(accuracy_multi, thresh=0.5), pretrained=False)
learn.fine_tune(4)
"""


def seconds(*args, **env):
    begin = time.perf_counter()
    subprocess.run([sys.executable, *args], check=True, env=os.environ | env)
    return round(time.perf_counter() - begin, 1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--photos', type=Path, required=True)
    p.add_argument('--repeat', type=int, default=1)
    args = p.parse_args()
    times = dict(post=[], bearclf=[])
    with tempfile.TemporaryDirectory() as d:
        for n in range(args.repeat):
            times['bearclf'].append(seconds('-m', 'bearclf', 'train', args.photos, '--out', model := f'{d}/{n}.onnx', TORCH_HOME=d))
            times['post'].append(seconds('-c', POST, args.photos))
        card = Classifier(model).card
    pictures = read_labels(args.photos)
    res = dict(command=shlex.join(['python', *sys.argv]), photographs=len(pictures), data=data_hash(pictures), seconds=times,
               ratio=round(statistics.median(a/b for a, b in zip(times['post'], times['bearclf'])), 2), scores=card.scores,
               cores=os.cpu_count(), load_after=round(os.getloadavg()[0], 1), python=platform.python_version())
    (Path(__file__).parent/'results'/'training.json').write_text(json.dumps(res, indent=1) + '\n')
    print(json.dumps(res, indent=1))


if __name__ == '__main__': main()
