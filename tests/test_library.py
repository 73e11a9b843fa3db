"Into the photo library: sidecars, sorted folders, the page to look at, as the command makes them."
import html, multiprocessing, os, random, re, shutil, signal, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bearclf import library
from bearclf.drawn import draw, sample_images
from bearclf.inference import Classifier
from bearclf.library import Report, add_sidecar, sort_picture
from bearclf.pictures import DataError

def bearclf(*args, **kwargs):
    return subprocess.run([sys.executable, '-m', 'bearclf', *map(str, args)], capture_output=True, text=True, **kwargs)

def contents(folder): return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(Path(folder).rglob('*')) if f.is_file()}

@pytest.fixture
def pictures(tmp_path):
    root = sample_images(tmp_path/'pictures', n=4)
    (root/'labels.csv').unlink(missing_ok=True)
    (root/'grizzly'/'notes.jpg').write_text('Bring the teddy.')
    return root

def subjects(sidecar):
    "The plain keywords, read by other means than they were written by."
    return re.findall(r'<rdf:li>(.*?)</rdf:li>', re.search(r'<dc:subject>.*?</dc:subject>', sidecar.read_text(), re.S)[0])

def test_sidecars_say_what_was_found(pictures):
    before = contents(pictures)
    said = bearclf('predict', pictures, '--xmp', '--thresholds', 'highest F1')
    assert said.returncode == 1
    for line in said.stdout.splitlines():
        file, found = line.split('\t')
        kinds = [] if found.startswith('none') else [k.rsplit(' ', 1)[0] for k in found.split(', ')]
        sidecar = Path(file + '.xmp')
        assert sidecar.exists() == bool(kinds) and (not kinds or subjects(sidecar) == kinds)
    after = contents(pictures)
    assert {name: after[name] for name in before} == before # no photograph is touched
    stamps = {f: f.stat().st_mtime_ns for f in pictures.rglob('*.xmp')}
    bearclf('predict', pictures, '--xmp', '--thresholds', 'highest F1')
    assert contents(pictures) == after and {f: f.stat().st_mtime_ns for f in pictures.rglob('*.xmp')} == stamps

FOREIGN = '''<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:darktable="http://darktable.sf.net/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:mine="http://example.org/mine/" darktable:xmp_version="5" mine:word="Ünïcode &amp; more">
   <dc:subject><rdf:Seq><rdf:li>holiday</rdf:li><rdf:li>teddys</rdf:li></rdf:Seq></dc:subject>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>places|Alaska</rdf:li></rdf:Bag></lr:hierarchicalSubject>
   <darktable:history><rdf:Seq><rdf:li darktable:operation="exposure" darktable:params="00ff"/></rdf:Seq></darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>'''

@pytest.mark.parametrize('name', ['photo.jpg.xmp', 'photo.xmp', 'photo.XMP'])
def test_what_others_wrote_into_a_sidecar_stays(tmp_path, name):
    sidecar = tmp_path/name
    sidecar.write_text(FOREIGN, encoding='utf-8')
    assert add_sidecar(tmp_path/'photo.jpg', ['teddys', 'grizzly']) == sidecar
    text = html.unescape(sidecar.read_text(encoding='utf-8'))
    for kept in ('places|Alaska', 'bearclf|grizzly', 'bearclf/grizzly', 'Ünïcode & more', 'darktable:operation="exposure"', 'darktable:params="00ff"', 'xmp_version="5"'):
        assert kept in text, kept
    assert subjects(sidecar) == ['holiday', 'teddys', 'grizzly']
    before = sidecar.read_bytes()
    assert add_sidecar(tmp_path/'photo.jpg', ['grizzly', 'teddys']) is None and sidecar.read_bytes() == before

@pytest.mark.parametrize('content', [b'', b'<x:xmpmeta', b'\x00\x01binary', FOREIGN.encode()[:-20], b'<html></html>', b'<a/>'])
def test_a_sidecar_that_is_none_stays_and_the_rest_goes_on(pictures, content):
    picture = sorted((pictures/'teddys').glob('*.jpg'))[0]
    sidecar = picture.with_name(picture.name + '.xmp')
    sidecar.write_bytes(content)
    said = bearclf('predict', pictures/'teddys', '--xmp', '--threshold', 'teddys=0.01')
    assert said.returncode == 1 and 'left as it is' in said.stderr and 'Traceback' not in said.stderr
    assert sidecar.read_bytes() == content and len([*(pictures/'teddys').glob('*.xmp')]) == 4

def test_sidecars_after_a_table_of_before(pictures, tmp_path):
    bearclf('predict', pictures, '--csv', tmp_path/'bears.csv', '--threshold', 'teddys=0.01')
    said = bearclf('predict', pictures, '--csv', tmp_path/'bears.csv', '--threshold', 'teddys=0.01', '--xmp')
    assert 'not looked at again' in said.stderr and len([*pictures.rglob('*.xmp')]) > 3

def _killed_in_the_middle(work):
    "`work` in a process that SIGKILL ends when half of a file is written."
    def child():
        def half(self, content):
            with open(self, 'wb') as f: f.write(content[:len(content)//2])
            os.kill(os.getpid(), signal.SIGKILL)
        Path.write_bytes = half
        shutil.copy2 = lambda file, to: half(Path(to), Path(file).read_bytes())
        work()
    p = multiprocessing.get_context('fork').Process(target=child)
    p.start()
    p.join()
    assert p.exitcode == -signal.SIGKILL

@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='no SIGKILL here')
@pytest.mark.parametrize('what', ['sidecar', 'sorted', 'page'])
def test_what_a_killed_run_left_is_taken_away(tmp_path, monkeypatch, what):
    photo, dest = tmp_path/'Photos'/'a.jpg', tmp_path/'Bears'
    (photo.parent).mkdir()
    draw(['grizzly'], random.Random(1)).save(photo)
    row = dict(file=str(photo), error=None, labels=['grizzly'], probs={'grizzly': .9})
    def work():
        library._tidy.cache_clear() # as in another run
        if what == 'sidecar': add_sidecar(photo, ['grizzly'])
        else: sort_picture(row, dest)
    _killed_in_the_middle(work)
    folder = photo.parent if what == 'sidecar' else dest/'grizzly'
    [part] = folder.glob('.*.part')
    if what == 'page':
        def work():
            library._tidy.cache_clear()
            Report(folder/'page.html', Classifier().card).write()
    work()
    assert part.exists() # it may be of one who is at work still
    now = time.time
    monkeypatch.setattr(time, 'time', lambda: now() + 61)
    (folder/'.mine.part').touch()
    work()
    assert [*folder.glob('.*')] == [folder/'.mine.part'] and len([*folder.iterdir()]) == (3 if what == 'sidecar' else 2)

def test_without_the_package_it_is_a_sentence(pictures, tmp_path):
    for name, args in dict(exiv2=['--xmp'], pyarrow=['--parquet', tmp_path/'bears.parquet']).items():
        (tmp_path/name).mkdir()
        (tmp_path/name/f'{name}.py').write_text('raise ImportError')
        path = os.pathsep.join([str(tmp_path/name), os.environ.get('PYTHONPATH', '')])
        said = bearclf('predict', pictures, *args, env=os.environ | {'PYTHONPATH': path})
        assert said.returncode == 2 and 'pip install' in said.stderr and len(said.stderr.splitlines()) == 1 and said.stdout == ''

@pytest.mark.parametrize('how', ['copy', 'link', 'move'])
def test_sorted_by_label(pictures, tmp_path, how):
    before, dest = contents(pictures), tmp_path/'sorted'
    args = 'predict', pictures, '--thresholds', 'highest F1', '--sort', dest, '--how', how
    dry = bearclf(*args, '--dry-run', '--xmp')
    assert not dest.exists() and contents(pictures) == before
    said = bearclf(*args)
    assert {line for line in said.stdout.splitlines()} == {line for line in dry.stdout.splitlines() if not line.startswith('would')}
    would = {line.split(' to ')[-1] for line in dry.stdout.splitlines() if line.startswith(f'would {how}')}
    assert would == {str(f) for f in dest.rglob('*.jpg')}
    folder = {Classifier().card.name_of(label): label for label in Classifier().labels}
    for line in said.stdout.splitlines():
        file, found = line.split('\t')
        kinds = ['nothing_found'] if found.startswith('none') else [folder[k.rsplit(' ', 1)[0]] for k in found.split(', ')]
        for kind in kinds:
            to = dest/kind/Path(file).name
            assert to.read_bytes() == before[Path(file).relative_to(pictures).as_posix()] and to.is_symlink() == (how == 'link')
    stays = contents(pictures)
    assert stays == before if how != 'move' else stays == {'grizzly/notes.jpg': b'Bring the teddy.'}
    again = contents(dest)
    bearclf(*args)
    assert contents(dest) == again # a second run changes nothing

def test_a_dry_run_tells_all_and_spoils_no_table(pictures, tmp_path):
    dest = tmp_path/'sorted'
    (pictures/'grizzly'/'notes.jpg').unlink()
    said = bearclf('predict', pictures, '--sort', dest, '--dry-run', '--csv', '-')
    assert 'would' not in said.stdout and said.stderr.count('would copy') >= len(said.stdout.splitlines()) - 1 > 0
    bearclf('predict', pictures, '--sort', dest)
    assert 'would' not in bearclf('predict', pictures, '--sort', dest, '--dry-run').stdout
    move = 'predict', pictures, '--sort', dest, '--how', 'move'
    told = bearclf(*move, '--dry-run').stdout # what lies there already takes the place of what is moved
    assert told.count('would move') == len(contents(dest)) >= len(contents(pictures)) > 0
    bearclf(*move)
    assert contents(pictures) == {} and len(contents(dest)) == told.count('would move')
    for option in (['--how', 'move'], ['--dry-run']):
        said = bearclf('predict', dest, *option)
        assert said.returncode == 2 and 'give it too' in said.stderr and said.stdout == ''

def test_sorting_within_the_folder_finds_itself_no_work(pictures):
    for _ in range(2): bearclf('predict', pictures, '--sort', pictures/'sorted')
    found = [f.name for f in (pictures/'sorted').rglob('*.jpg')]
    assert found and not [name for name in found if '(2)' in name]
    assert 'sorted' not in bearclf('predict', pictures, '--sort', pictures/'sorted').stdout

def test_nothing_is_overwritten_and_a_move_that_fails_loses_nothing(tmp_path):
    for folder, text in dict(a='one', b='two', c='one').items():
        (tmp_path/folder).mkdir()
        (tmp_path/folder/'x.jpg').write_text(text)
    rows = [dict(file=str(tmp_path/f/'x.jpg'), labels=['grizzly', 'teddys'], error='') for f in 'abc']
    for row in rows: sort_picture(row, tmp_path/'to', 'move')
    assert contents(tmp_path/'to') == {f'{k}/x{n}.jpg': t for k in ('grizzly', 'teddys') for n, t in (('', b'one'), (' (2)', b'two'))}
    (tmp_path/'a'/'x.jpg').write_text('three')
    shutil.rmtree(tmp_path/'to'/'teddys')
    (tmp_path/'to'/'teddys').touch() # no folder can be made there
    with pytest.raises(DataError, match='is where it was'): sort_picture(rows[0], tmp_path/'to', 'move')
    assert (tmp_path/'a'/'x.jpg').read_text() == 'three'

def test_a_sidecar_goes_with_its_photograph(tmp_path):
    for name in ('x.jpg', 'x.jpg.xmp'): (tmp_path/name).write_text(name)
    sort_picture(dict(file=str(tmp_path/'x.jpg'), labels=['grizzly'], error=''), tmp_path/'to', 'move')
    assert contents(tmp_path) == {'to/grizzly/x.jpg': b'x.jpg', 'to/grizzly/x.jpg.xmp': b'x.jpg.xmp'}

def test_a_sidecar_that_a_raw_file_may_have_too_stays_and_a_copy_goes(tmp_path):
    for name in ('x.jpg', 'x.xmp'): (tmp_path/name).write_text(name)
    sort_picture(dict(file=str(tmp_path/'x.jpg'), labels=['grizzly'], error=''), tmp_path/'to', 'move')
    assert contents(tmp_path) == {'x.xmp': b'x.xmp', 'to/grizzly/x.jpg': b'x.jpg', 'to/grizzly/x.jpg.xmp': b'x.xmp'}

def test_a_picture_that_lies_there_by_another_way_is_not_removed(tmp_path, monkeypatch):
    "As where a share is mounted twice: the same folder under two names, which the system can't tell."
    (tmp_path/'a').mkdir()
    (tmp_path/'a'/'grizzly').mkdir()
    (tmp_path/'a'/'grizzly'/'x.jpg').write_text('one')
    (tmp_path/'b').symlink_to(tmp_path/'a')
    row = dict(file=str(tmp_path/'a'/'grizzly'/'x.jpg'), labels=['grizzly'], error='')
    for blind in (False, True):
        if blind: monkeypatch.setattr(library, '_is_itself', lambda to, file: False)
        sort_picture(row, tmp_path/'b', 'move')
        assert [f.name for f in (tmp_path/'a'/'grizzly').iterdir()] == ['x.jpg']

def test_the_sidecar_of_a_link_is_moved_and_not_linked(tmp_path):
    (tmp_path/'real.jpg').write_text('one')
    (tmp_path/'x.jpg').symlink_to(tmp_path/'real.jpg')
    (tmp_path/'x.jpg.xmp').write_text('words')
    sort_picture(dict(file=str(tmp_path/'x.jpg'), labels=['grizzly'], error=''), tmp_path/'to', 'move')
    assert (tmp_path/'to'/'grizzly'/'x.jpg').is_symlink() and (tmp_path/'to'/'grizzly'/'x.jpg.xmp').read_text() == 'words'
    assert not (tmp_path/'to'/'grizzly'/'x.jpg.xmp').is_symlink() and not os.path.lexists(tmp_path/'x.jpg.xmp')

@pytest.mark.parametrize('links', [True, False])
def test_two_that_sort_into_one_folder_lose_nothing(tmp_path, monkeypatch, links):
    if not links: monkeypatch.setattr(os, 'link', _no_links)
    pictures, n, together = [], 50, threading.Barrier(2, timeout=60)
    for folder in 'ab':
        (tmp_path/folder).mkdir()
        for i in range(n):
            pictures.append(tmp_path/folder/f'{i}.jpg')
            pictures[-1].write_text(f'{folder} {i}')
    copy = shutil.copy2
    def copied(file, to): # both have found the same name to be free
        copy(file, to)
        if '(2)' not in to.name: together.wait()
    monkeypatch.setattr(shutil, 'copy2', copied)
    def sort(folder):
        for i in range(n): sort_picture(dict(file=str(tmp_path/folder/f'{i}.jpg'), labels=['grizzly'], error=''), tmp_path/'to', 'move')
    with ThreadPoolExecutor(2) as ex: list(ex.map(sort, 'ab'))
    assert len({f.read_text() for f in (tmp_path/'to').rglob('*.jpg')}) == 2*n and not any(f.exists() for f in pictures)

def _no_links(*_): raise OSError(1, 'Operation not permitted')

def test_a_picture_in_its_place_gets_no_second_sidecar(tmp_path):
    (tmp_path/'grizzly').mkdir()
    for name in ('x.jpg', 'x.xmp'): (tmp_path/'grizzly'/name).write_text(name)
    sort_picture(dict(file=str(tmp_path/'grizzly'/'x.jpg'), labels=['grizzly'], error=''), tmp_path, 'move')
    assert {*contents(tmp_path)} == {'grizzly/x.jpg', 'grizzly/x.xmp'}

def test_a_long_name_and_its_sidecar(tmp_path):
    name = 'x'*251
    for end in ('.jpg', '.xmp'): (tmp_path/(name + end)).write_text(end)
    sort_picture(dict(file=str(tmp_path/f'{name}.jpg'), labels=['grizzly'], error=''), tmp_path/'to', 'move')
    assert contents(tmp_path/'to') == {f'grizzly/{name}.jpg': b'.jpg', f'grizzly/{name}.xmp': b'.xmp'}

def test_a_move_and_a_table(pictures, tmp_path):
    args = 'predict', pictures, '--sort', tmp_path/'to', '--how', 'move', '--csv', tmp_path/'bears.csv'
    bearclf(*args)
    first = (tmp_path/'bears.csv').read_text()
    bearclf(*args) # only the file that is no picture is left
    assert sorted((tmp_path/'bears.csv').read_text().splitlines()) == sorted(first.splitlines())

def test_a_dry_run_tells_names_that_come_again(tmp_path):
    "Cameras give the same names in each of their folders."
    for i, folder in enumerate(('cam1', 'cam2', 'cam3', 'again')):
        (tmp_path/'cards'/folder).mkdir(parents=True)
        draw(('teddys',), random.Random(min(i, 2))).save(tmp_path/'cards'/folder/'IMG_0001.jpg')
    args = 'predict', tmp_path/'cards', '--sort', tmp_path/'sorted'
    would = {line.split(' to ')[-1] for line in bearclf(*args, '--dry-run').stdout.splitlines() if line.startswith('would')}
    bearclf(*args)
    assert would == {str(f) for f in (tmp_path/'sorted').rglob('*.jpg')} and len({Path(f).name for f in would}) == 3

def test_the_report_tells_pictures_apart(pictures, tmp_path):
    "By name at once; the whole path and all probabilities are there without a mouse."
    long = pictures/'the holidays of 2025 in the national park'/'100_CANON'
    long.mkdir(parents=True)
    shutil.copy(next((pictures/'teddys').glob('*.jpg')), file := long/'IMG_0001.jpg')
    card = replace(Classifier().card, labels=('mushroom', 'other'), thresholds=dict(mushroom=.5, other=.5))
    (report := Report(tmp_path/'r.html', card)).add(dict(file=str(file), labels=['mushroom'], probs=dict(mushroom=.9, other=.1), error=''))
    report.write()
    page = (tmp_path/'r.html').read_text()
    assert f'<summary>100_CANON/IMG_0001.jpg</summary>{file}<br>mushroom 0.90, no bear 0.10</details>' in page
    assert '<title>What is in these pictures</title>' in page and 'Bears' not in page and 'title=' not in page
    Report(tmp_path/'r.html', Classifier().card).write() # it is ours
    assert '<h1>Bears in these pictures</h1>' in (tmp_path/'r.html').read_text()

def test_the_report(pictures, tmp_path):
    nasty = pictures/'<b>&"nasty".jpg'
    shutil.copy(next((pictures/'teddys').glob('*.jpg')), nasty)
    said = bearclf('predict', pictures, '--html', tmp_path/'bears.html')
    page = (tmp_path/'bears.html').read_text(encoding='utf-8')
    assert said.returncode == 1 and '<b>' not in page and '&lt;b&gt;' in page
    assert 'notes.jpg is not a picture' in page and not re.search(r'(src|href)="(?!data:image/webp;base64,|#)', page)
    kinds = [line.split('\t')[1] for line in said.stdout.splitlines()]
    assert page.count('<figure') == sum(max(1, k.count(',') + 1) for k in kinds)
    assert bearclf('predict', pictures/'teddys', '--html', tmp_path/'bears.html').returncode == 0 # ours is made anew
    for name, content in {'mine.html': '<!doctype html>\n<p>mine', 'bears.csv': 'a,b\n'}.items():
        (tmp_path/name).write_text(content)
        said = bearclf('predict', pictures, '--html', tmp_path/name)
        assert said.returncode == 2 and 'no report' in said.stderr and (tmp_path/name).read_text() == content
    assert bearclf('predict', pictures, '--html', next((pictures/'teddys').glob('*.jpg'))).returncode == 2
    assert 'two names' in bearclf('predict', pictures, '--html', tmp_path/'x', '--csv', tmp_path/'x').stderr

def test_the_most_doubtful_come_first(pictures, tmp_path):
    file = str(next((pictures/'teddys').glob('*.jpg')))
    report = Report(tmp_path/'r.html', replace(Classifier().card, thresholds=dict(grizzly=.5, other=.5)))
    for p in (.9, .51, .7): report.add(dict(file=file, labels=['grizzly'], probs=dict(grizzly=p, other=.5), error=''))
    report.write()
    assert re.findall(r'<figcaption>grizzly (\S+?)<', (tmp_path/'r.html').read_text()) == ['0.51', '0.70', '0.90']
