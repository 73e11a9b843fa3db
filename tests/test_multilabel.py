"The learner: copies, rare labels, weights out of reach."
import json, shutil, subprocess, sys
from pathlib import Path

import pytest
from PIL import Image

from bearclf import multilabel, train
from bearclf.data import Labelled, read_labels
from bearclf.pictures import DataError, picture_files

def test_copies_never_lie_on_both_sides(drawn, tmp_path):
    root = tmp_path/'copies'
    shutil.copytree(drawn/'teddys', root/'teddys')
    shutil.copytree(drawn/'grizzly', root/'grizzly')
    for f in picture_files(root): Image.open(f).convert('RGB').resize((260, 260)).save(f.with_name(f.stem + '_copy.jpg'), quality=50)
    pictures = read_labels(root)
    for seed in range(10):
        dls = multilabel.bear_dataloaders(pictures, seed=seed)
        sides = [{f.stem.removesuffix('_copy') for f in ds.items} for ds in (dls.train_ds, dls.valid_ds)]
        assert not sides[0] & sides[1] and all(sides)

def test_one_observation_never_lies_on_both_sides(drawn, tmp_path):
    root = tmp_path/'images'
    for kind in ('teddys', 'grizzly'): shutil.copytree(drawn/kind, root/kind)
    files = picture_files(root)
    page = {f: f'https://www.inaturalist.org/observations/{i//2}' for i, f in enumerate(files)} # of two each
    lines = [dict(file=f.relative_to(root).as_posix(), source='inaturalist', id=f.stem, page=page[f]) for f in files]
    (root/'manifest.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    copy = files[0].with_name('copy.jpg')  # of one of them, unknown to the manifest: a twin of both
    Image.open(files[0]).convert('RGB').resize((260, 260)).save(copy)
    page[copy] = page[files[0]]
    (tmp_path/'set').mkdir()
    for kind in ('teddys', 'grizzly'): (tmp_path/'set'/kind).symlink_to(root/kind)
    for folder in (root, tmp_path/'set'): # a set may link to what was downloaded
        pictures = read_labels(folder)
        def pages(part): return {page[pictures[i].file.resolve()] for i in part}
        for seed in range(10):
            for rest, valid in (multilabel.hold_aside(pictures, seed=seed), *train.folds_of(pictures, 3, seed)): assert not pages(rest) & pages(valid)

def test_a_label_that_would_be_held_aside_whole_is_trained_on(drawn):
    "Its near-duplicates go with it, whatever the seed."
    bear = picture_files(drawn/'grizzly')[0]
    copies = [bear.with_name(f'again {i}.jpg') for i in range(3)]
    for i, f in enumerate(copies): Image.open(bear).convert('RGB').resize((200+20*i,)*2).save(f)
    pictures = [Labelled(f, ('grizzly',)) for f in copies] + [Labelled(f, ('teddys',)) for f in picture_files(drawn/'teddys')]
    try:
        for seed in range(20): assert set(copies) <= set(multilabel.bear_dataloaders(pictures, seed=seed).train_ds.items)
        with pytest.raises(DataError, match='near-duplicates'): multilabel.bear_dataloaders(pictures[:3])
    finally:
        for f in copies: f.unlink()

def test_what_looks_alike_in_large_groups_leaves_enough_to_learn_from():
    "Night frames of one camera are a group that no share to hold aside may swallow."
    pictures = [Labelled(i, ('grizzly', 'teddys')[i % 2:i % 2 + 1]) for i in range(200)]
    twins = {i: {*range(120)} if i < 120 else {i} for i in range(200)}
    for seed in range(40):
        rest, valid = multilabel.hold_aside(pictures, seed=seed, twins=twins)
        assert 30 <= len(valid) <= 40 and sorted(rest + valid) == [*range(200)] and not {*range(120)} & {*valid}
    few, twins = pictures[:8], {i: {0, 2, 4, 6} if i % 2 == 0 else {i} for i in range(8)}
    for seed in range(100): # no chance decides whether there is a split
        rest, valid = multilabel.hold_aside(few, seed=seed, twins=twins)
        assert valid and {few[i].labels for i in rest} == {('grizzly',), ('teddys',)}
    with pytest.raises(DataError, match='cannot be split'): multilabel.hold_aside(few, twins={i: {*range(8)} for i in range(8)})

def test_weights_out_of_reach(drawn, monkeypatch):
    dls = multilabel.bear_dataloaders(read_labels(drawn))
    def offline(*args, **kwargs): raise OSError('no network')
    monkeypatch.setattr(multilabel, 'vision_learner', offline)
    with pytest.raises(multilabel.TrainingError, match='tf_efficientnet_lite0'): multilabel.bear_learner(dls, 'resnet18')

def test_two_processes_have_the_gradients_of_one(tmp_path):
    from bearclf.drawn import sample_images
    script = Path(__file__).parent.parent/'examples'/'several_gpus.py'
    r = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', str(script),
                        str(sample_images(tmp_path/'drawn', n=6)), '--check', '--cpu'], capture_output=True, text=True)
    assert r.returncode == 0 and 'gradients of 2 processes differ' in r.stdout, r.stdout + r.stderr
