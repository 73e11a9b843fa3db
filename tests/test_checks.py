"`verify` and `dedupe` lose no file, whatever happens; duplicates against brute force."
import os, random, shutil, subprocess, sys
from pathlib import Path

import pytest
from PIL import Image

from bearclf import checks, drawn, manifest, pictures
from bearclf.checks import dedupe, verify
from bearclf.clean import Cleaner
from bearclf.data import read_labels
from bearclf.manifest import aside_of, follow_moves, move_file, move_recorded, read_manifest
from bearclf.pictures import DataError, MachineError, PictureError, picture_files
from helpers import ODD, beside, contents, killed_at_every_moment, photo, tree

def brute(hashes, d):
    "Groups by comparing each with each."
    left, res = set(hashes), []
    while left:
        group, todo = set(), [left.pop()]
        while todo:
            a = todo.pop()
            group.add(a)
            near = {b for b in left if (hashes[a] ^ hashes[b]).bit_count() <= d}
            left -= near
            todo += near
        if len(group) > 1: res.append(group)
    return sorted(map(sorted, res))

@pytest.mark.parametrize('distance', [0, 1, 5, 10, 17, 31])
def test_groups_equal_those_of_comparing_each_with_each(distance):
    rng = random.Random(distance)
    hashes = {i: rng.getrandbits(64) for i in range(150)}
    for i in range(150, 300):
        h = hashes[rng.randrange(i)]
        for b in rng.sample(range(64), rng.randint(0, 18)): h ^= 1 << b
        hashes[i] = h
    assert sorted(map(sorted, checks.near_duplicates(hashes, distance, hashes=hashes))) == brute(hashes, distance)

def test_edges_of_near_duplicates(tmp_path):
    assert checks.near_duplicates([]) == []
    for bad in (-1, 32, 64):
        with pytest.raises(ValueError): checks.near_duplicates([], bad)
    blank = {c: tmp_path/f'{c}.jpg' for c in ('white', 'black', 'navy')}
    for c, f in blank.items(): Image.new('RGB', (300, 200), c).save(f)
    assert set(checks.hash_pictures(blank.values()).values()) == {None} and checks.near_duplicates(blank.values()) == []
    photo().save(tmp_path/'a.jpg')
    assert checks.near_duplicates([tmp_path/'a.jpg', tmp_path/'a.jpg']) == []
    (tmp_path/'b.jpg').write_text('no')
    with pytest.raises(PictureError, match='b.jpg'): checks.near_duplicates([tmp_path/'a.jpg', tmp_path/'b.jpg'])

def test_verify_loses_nothing(tmp_path):
    rng = random.Random(4)
    root, aside = tmp_path/ODD, tmp_path/f'{ODD}_set_aside'
    drawn.sample_images(root, n=6)
    for f in picture_files(root):
        what = rng.randrange(6)
        if what == 0: f.write_bytes(f.read_bytes()[:rng.randrange(3000)])
        elif what == 1: Image.new('RGB', (20, 20), tuple(rng.randbytes(3))).save(f)
    was, pictures, rows = contents(root), len(picture_files(root)), (root/'labels.csv').read_text().splitlines()[1:]
    for round in range(3):
        report = verify(root)
        assert contents(root, aside) == was
        assert len(picture_files(root)) + len(picture_files(aside)) == pictures
        assert all(t.moved.is_file() and not t.file.exists() for t in report.unreadable + report.small)
        assert bool(report.unreadable + report.small) == (round == 0)
    assert len(read_labels(root)) == len(picture_files(root))
    assert sorted(rows) == sorted(t for d in (root, aside) for t in (d/'labels.csv').read_text().splitlines()[1:])
    read_labels(aside)

def test_verify_never_overwrites(folder):
    aside = folder.with_name(folder.name + '_set_aside')
    (folder/'labels.csv').write_text('file,labels,who\nboth/d.jpg,a;b,Ann\n"both/e, f.jpg",a,Bo\n')
    for n in range(3):
        (folder/'both'/'d.jpg').write_bytes(b'broken %d' % n)
        (folder/'labels.csv').write_text('file,labels,who\nboth/d.jpg,a;b,Ann\n"both/e, f.jpg",a,Bo\n')
        [t] = verify(folder).unreadable
        assert t.moved.read_bytes() == b'broken %d' % n
    assert sorted(f.name for f in (aside/'both').iterdir()) == ['d (2).jpg', 'd (3).jpg', 'd.jpg']
    assert (aside/'labels.csv').read_text() == 'file,labels,who\nboth/d.jpg,a;b,Ann\nboth/d (2).jpg,a;b,Ann\nboth/d (3).jpg,a;b,Ann\n'
    assert (folder/'labels.csv').read_text() == 'file,labels,who\n"both/e, f.jpg",a,Bo\n'

def test_verify_that_moves_nothing(folder):
    (folder/'grizzly'/'a.jpg').write_text('no')
    (folder/'readme.txt').write_text('hello')
    was = contents(folder)
    report = verify(folder, move=False, min_side=130)
    assert contents(folder) == was and not folder.with_name(folder.name + '_set_aside').exists()
    assert len(report.unreadable) == 1 and len(report.small) == 4 and report.not_pictures == [folder/'readme.txt'] and report.checked == 5
    assert all(t.moved is None for t in report.unreadable + report.small)
    assert 'grizzly/a.jpg' in str(report) and '<td>' in report._repr_html_()

def test_verify_after_being_killed_between_photographs_and_table(folder, monkeypatch):
    (folder/'labels.csv').write_text('file,labels\nboth/d.jpg,a;b\n')
    (folder/'both'/'d.jpg').write_text('no')
    with monkeypatch.context() as m:
        m.setattr(manifest, '_move_rows', lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt): verify(folder)
    with pytest.raises(DataError, match='does not exist'): read_labels(folder)
    report = verify(folder)
    assert report.unreadable == [] and len(read_labels(folder)) == 4
    assert (folder.with_name(folder.name + '_set_aside')/'labels.csv').read_text() == 'file,labels\nboth/d.jpg,a;b\n'

def test_verify_reports_a_row_whose_file_is_gone(folder):
    (folder/'labels.csv').write_text('file,labels\nboth/gone.jpg,a\nboth/d.jpg,b\n')
    report = verify(folder)
    assert [(t.file.name, t.moved) for t in report.unreadable] == [('gone.jpg', None)]
    assert 'does not exist' in report.unreadable[0].reason and 'gone.jpg' in (folder/'labels.csv').read_text()

def test_verify_goes_on_where_it_cannot_move(folder, monkeypatch):
    for f in ('a.jpg', 'b.jpg'): (folder/'grizzly'/f).write_text('no')
    folder.with_name(folder.name + '_set_aside').write_text('a file in the way')
    was = contents(folder)
    report = verify(folder)
    assert contents(folder) == was and len(report.unreadable) == 2 and all('could not be moved' in t.reason for t in report.unreadable)

def test_verify_onto_another_disk(folder, monkeypatch):
    import errno
    (folder/'grizzly'/'a.jpg').write_text('no')
    real = os.replace
    def replace(a, b):
        if Path(a).suffix == '.jpg': raise OSError(errno.EXDEV, 'Invalid cross-device link')
        return real(a, b)
    monkeypatch.setattr(os, 'replace', replace)
    [t] = verify(folder).unreadable
    assert t.moved.read_text() == 'no' and not t.file.exists()

def test_verify_finds_duplicates_across_labels(folder):
    shutil.copy(folder/'grizzly'/'a.jpg', folder/'black bear'/'same.jpg')
    photo(1).save(folder/'black bear'/'alike.png')
    report = verify(folder)
    assert [([f.name for f in d.files], d.labels) for d in report.exact] == [(['same.jpg', 'a.jpg'], ['black bear', 'grizzly'])]
    assert [([f.name for f in d.files], d.labels) for d in report.near] == [(['alike.png', 'b.jpg'], ['black bear', 'grizzly'])]
    assert report.across == report.exact + report.near

def test_verify_bad_folders(tmp_path, folder):
    with pytest.raises(DataError): verify(tmp_path/'nothing')
    (tmp_path/'empty').mkdir()
    assert verify(tmp_path/'empty').checked == 0
    (folder/'labels.csv').write_text('nonsense\n')
    with pytest.raises(DataError, match='columns'): verify(folder)

def test_dedupe_keeps_the_best_and_loses_nothing(root):
    was, rows = contents(root), (root/'labels.csv').read_text().splitlines()
    done = dedupe(root)
    assert [(c.file.name, c.of.name) for c in done.copies] == [
        ('small.jpg', 'grizzly-42-0000.jpg'), ('black_bear-grizzly-42-0000.jpg', 'copy.png'), ('z.webp', 'copy.png')]  # the PNG has more bytes
    assert contents(root, beside(root)) == was and all(c.moved.is_file() and not c.file.exists() for c in done.copies)
    assert done.ok and 'copies set aside 3' in str(done) and '<td>' in done._repr_html_()
    assert len(read_labels(root)) == 10 and len(read_labels(beside(root))) == 3
    assert sorted(rows[1:]) == sorted(r for d in (root, beside(root)) for r in (d/'labels.csv').read_text().splitlines()[1:])
    assert follow_moves(read_manifest(root))[f'../{beside(root).name}/grizzly/small.jpg']['id'] == '7'
    state = tree(root)
    assert dedupe(root).copies == [] and tree(root) == state

def test_copies_put_back_by_hand_have_their_labels_again(root):
    was = read_labels(root)
    moved = [(c.file, c.moved) for c in dedupe(root).copies]
    for file, at in moved[1:]: at.rename(file)       # one stays away
    moved[0][1].unlink()
    Cleaner(root)
    assert [o for o in was if o.file != moved[0][0]] == read_labels(root)
    assert {*follow_moves(read_manifest(root))} == {f'../{beside(root).name}/grizzly/small.jpg'} | {f'two_kinds/{f.name}' for f, _ in moved[1:]}
    lines = len([*read_manifest(root)])
    Cleaner(root)
    assert len([*read_manifest(root)]) == lines      # said once

def test_one_photograph_under_two_labels_is_left(root):
    best = picture_files(root/'grizzly')[0]
    shutil.copy(best, root/'teddys'/'toy.jpg')
    shutil.copy(best, root/'teddys'/'toy again.jpg')
    done = dedupe(root)
    assert [(d.files, d.labels) for d in done.across] == [([best, root/'teddys'/'toy again.jpg'], ['grizzly', 'teddys'])] and not done.ok
    assert {c.file.name for c in done.copies} >= {'toy.jpg', 'small.jpg'} and dedupe(root).across == done.across

def test_a_chain_is_no_copy(monkeypatch):
    monkeypatch.setattr(checks, '_is_close', lambda a, b: True)
    files = [Path(f'/x/{n}') for n in 'abc']
    looks = {f: checks._Look((100 - i, 100), 9, h) for i, (f, h) in enumerate(zip(files, (0, 0b11111, 0b1111111111)))}
    copies, across = checks._sort_out(files, looks, lambda f: ('g',), 6)
    assert copies == [(files[1], files[0])] and across is None  # the third is like the second alone, which went
    assert checks._sort_out(files, looks, lambda f: (f.name,), 6)[1].files == files

def test_blank_pictures_are_copies_only_if_their_bytes_are_the_same(tmp_path):
    (tmp_path/'set'/'a').mkdir(parents=True)
    for n, c in (('1', 'white'), ('2', 'white'), ('3', 'navy')): Image.new('RGB', (200, 200), c).save(tmp_path/'set'/'a'/f'{n}.png')
    assert [c.file.name for c in dedupe(tmp_path/'set').copies] == ['2.png']

def test_one_file_with_two_names_is_no_copy(tmp_path):
    (tmp_path/'set'/'a').mkdir(parents=True)
    drawn.draw(['grizzly'], random.Random(1)).save(tmp_path/'set'/'a'/'z.jpg')
    (tmp_path/'set'/'a'/'link.jpg').symlink_to(tmp_path/'set'/'a'/'z.jpg')
    assert dedupe(tmp_path/'set').copies == [] and len(picture_files(tmp_path/'set')) == 2

def test_dedupe_says_what_it_can_not_do(root, tmp_path):
    picture_files(root/'teddys')[0].write_text('no')
    done = dedupe(root)
    assert [t.file.name for t in done.unreadable] == ['teddys-42-0000.jpg'] and done.unreadable[0].file.exists() and not done.ok
    for bad, kw in ((tmp_path/'nothing', {}), (root, dict(distance=32)), (root, dict(distance=-1))):
        with pytest.raises(DataError) as e: dedupe(bad, **kw)
        assert str(e.value).endswith('.') and '\n' not in str(e.value)

def test_dedupe_never_overwrites(root):
    (beside(root)/'grizzly').mkdir(parents=True)
    (beside(root)/'grizzly'/'small.jpg').write_text('mine')
    assert dedupe(root).copies[0].moved.name == 'small (2).jpg' and (beside(root)/'grizzly'/'small.jpg').read_text() == 'mine'

def test_dedupe_goes_on_where_it_can_not_move(root):
    was = contents(root)
    beside(root).write_text('a file in the way')
    done = dedupe(root)
    assert [c.moved for c in done.copies] == [None]*3 and not done.ok and 'could not be moved' in str(done)
    assert contents(root) == was and set(follow_moves(read_manifest(root))) == {'grizzly/small.jpg'} | {f'two_kinds/{n}' for n in ('z.webp', 'black_bear-grizzly-42-0000.jpg')}
    beside(root).unlink()
    assert dedupe(root).ok

def test_ten_thousand_of_the_same_are_not_compared_with_each_other():
    looks = {Path(f'/x/{i:05}'): checks._Look((9, 9), 9, i % 3) for i in range(10_000)}
    calls = []
    real, checks._near_pairs = checks._near_pairs, lambda hashes, d: calls.append(len(hashes)) or real(hashes, d)
    try: [group] = checks.alike(looks, 6)
    finally: checks._near_pairs = real
    assert calls == [3] and len(group) == 10_000

def test_the_command(root):
    shutil.copy(picture_files(root/'grizzly')[0], root/'teddys'/'toy.jpg')
    run = lambda *a: subprocess.run([Path(sys.executable).with_name('bearclf'), 'dedupe', *map(str, a)], capture_output=True, text=True)
    before = tree(root)
    assert 'copies found 3' in run(root, '--dry-run').stdout and tree(root) == before
    r = run(root)
    assert r.returncode == 1 and 'copies set aside 3' in r.stdout and 'labels: grizzly, teddys' in r.stdout and r.stderr == ''
    (root/'teddys'/'toy.jpg').unlink()
    r = run(root, '--distance', 4)
    assert r.returncode == 0 and 'copies set aside 0' in r.stdout
    assert 'example:\n  bearclf dedupe' in run('--help').stdout
    for bad in ((root/'gone',), (root, '--distance', 64)):
        r = run(*bad)
        assert r.returncode == 2 and r.stdout == '' and len(r.stderr.splitlines()) == 1

def test_dedupe_killed_at_every_moment(root): killed_at_every_moment(root, dedupe)

def test_verify_killed_at_every_moment(root):
    picture_files(root/'two_kinds')[0].write_text('no')
    Image.new('RGB', (50, 50)).save(root/'grizzly'/'small.jpg')
    killed_at_every_moment(root, verify)

# ---- links, undo, the machine's trouble

def test_a_link_is_moved_as_a_link(root):
    one, link = picture_files(root/'teddys')[0], root/'teddys'/'link.jpg'
    link.symlink_to(one.name)
    (root/'grizzly'/'broken.jpg').symlink_to('../notes.txt')
    (root/'notes.txt').write_text('no picture')
    verify(root)
    aside = beside(root)/'grizzly'/'broken.jpg'
    assert aside.is_symlink() and aside.read_text() == 'no picture' and link.is_symlink() and (root/'notes.txt').exists()

@pytest.mark.parametrize('work', [verify, dedupe])
def test_what_lies_in_a_linked_folder_is_left(root, work):
    archive = root.with_name('archive')
    (root/'grizzly').rename(archive)
    (root/'grizzly').symlink_to(archive)
    (archive/'broken.jpg').write_text('no picture')
    was = sorted(archive.iterdir())
    report = work(root)
    assert sorted(archive.iterdir()) == was and 'linked' in str(report)

def test_undo_puts_back_what_was_set_aside(root):
    (root/'teddys'/'broken.jpg').write_text('no picture')
    was, files = contents(root), picture_files(root)
    verify(root)
    dedupe(root)
    assert picture_files(root) != files
    back, left = checks.undo(root)
    assert left == [] and picture_files(root) == files and contents(root) == was
    assert checks.undo(root) == ([], [])

def test_undo_leaves_what_was_set_aside_by_hand_since(root):
    broken = root/'teddys'/'broken.jpg'
    broken.write_text('no picture')
    verify(root)
    checks.undo(root)
    move_recorded(root, broken, beside(root)/'teddys'/'broken.jpg', 'set aside by hand', set())
    assert checks.undo(root) == ([], []) and not broken.exists()

def test_undo_keeps_all_columns_of_a_table(root):
    broken = root/'teddys'/'broken.jpg'
    broken.write_text('no picture')
    with open(root/'labels.csv', 'a') as f: f.write('teddys/broken.jpg,teddys\n')
    verify(root)
    lines = (root/'labels.csv').read_text().splitlines()
    (root/'labels.csv').write_text('\n'.join([f'{lines[0]},note', *(f'{line},mine' for line in lines[1:])]) + '\n')
    checks.undo(root)
    head, *rows = (root/'labels.csv').read_text().splitlines()
    assert head == 'file,labels,note' and len(rows) == len(lines) and sum(row.endswith(',mine') for row in rows) == len(rows) - 1

def test_a_name_that_was_taken_for_nothing_is_free_again(root):
    with pytest.raises(FileNotFoundError): move_file(root/'gone.jpg', root/'teddys'/'here.jpg')
    assert not (root/'teddys'/'here.jpg').exists()

def test_the_top_of_a_disk_has_nothing_beside():
    with pytest.raises(DataError, match='top of a disk'): aside_of(Path('/'))

def test_undo_overwrites_nothing(root):
    broken = root/'teddys'/'broken.jpg'
    broken.write_text('no picture')
    verify(root)
    photo(3).save(broken)
    back, left = checks.undo(root)
    assert [f.name for f in left] == ['broken.jpg'] and left[0].read_text() == 'no picture' and broken.stat().st_size > 100

def test_a_dry_run_moves_nothing(root):
    (root/'teddys'/'broken.jpg').write_text('no picture')
    was = tree(root)
    assert dedupe(root, move=False).copies and verify(root, move=False).unreadable
    assert tree(root) == was and not beside(root).exists()

@pytest.mark.parametrize('error', [OSError(24, 'Too many open files'), OSError(28, 'No space left on device'), OSError(5, 'Input/output error')])
def test_the_machines_trouble_moves_no_file(root, monkeypatch, error):
    was, before = tree(root), pictures.open_file
    def fails(path, name):
        if 'small' not in name: return before(path, name)
        pictures.raise_for_machine(error, name)
    monkeypatch.setattr(pictures, 'open_file', fails)
    for work in (verify, dedupe):
        with pytest.raises(MachineError, match='free some'): work(root)
    assert tree(root) == was

def test_too_little_memory_is_not_a_damaged_file(root, monkeypatch):
    def short(*args, **kwargs): raise MemoryError
    monkeypatch.setattr(pictures, '_to_rgb', short)
    monkeypatch.setattr(pictures, '_has_room', lambda n: False)
    with pytest.raises(MachineError, match='too little memory'): verify(root)
    monkeypatch.setattr(pictures, '_has_room', lambda n: True) # then the file asks for the impossible
    assert len(verify(root, move=False).unreadable) == verify(root, move=False).checked
