"Downloads, against one server that speaks as the four services do and fails in every way we know of."
import errno, json, multiprocessing, os, random, re, signal, subprocess, sys, tempfile, threading, time
from pathlib import Path

import pytest, tqdm

from bearclf import cli, download as downloads, pictures, sources
from bearclf.checks import verify
from bearclf.download import download
from bearclf.manifest import Manifest, follow_moves
from bearclf.pictures import DataError, picture_files
from bearclf.sources import Openverse, Wikimedia
from helpers import PATIENCE
from server import BASES, Server, is_whole, net, picture, rows, service

def test_the_suffix_is_that_of_the_content(server, tmp_path):
    server.faults[server.ids('grizzly')[0]] = ['png']
    download('grizzly', n=2, source=service(server), dest=tmp_path/'images', check=False)
    assert [f.suffix for f in is_whole(tmp_path/'images')] == ['.png', '.jpg']

def test_what_stands_in_the_place_of_photographs(server, tmp_path):
    dest, ids = tmp_path/'images', server.ids('grizzly')
    server.n, server.faults = 30, {i: ['to-placeholder'] for i in ids[:2]} | {i: ['placeholder'] for i in ids[2:6]}
    res = download('grizzly', n=20, source=service(server), dest=dest)
    said = dict(res.words[0].refused)
    assert said.pop('Its server says by its address that the picture is not available.') == 2
    assert said == {'It is the very same file as another photograph, as a notice in its place would be.': 3}
    [aside] = picture_files(tmp_path/'images_set_aside')                                      # the first that came so
    assert aside.suffix == '.png' and all(f.suffix == '.jpg' for f in picture_files(dest)) and len(picture_files(dest)) == 19
    assert [r['why'] for r in rows(dest) if 'why' in r] == ['the same file came for several photographs: a notice in their place']
    assert download('grizzly', n=20, source=service(server), dest=dest).words[0].new == 0

# the disk

def test_a_full_disk(server, tmp_path, monkeypatch):
    real, left = Path.write_bytes, [3]
    def write(self, content):
        if not left[0]:
            real(self, content[:50])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        return real(self, content)
    monkeypatch.setattr(Path, 'write_bytes', write)
    with pytest.raises(DataError, match='No space left'): download('grizzly', n=10, source=service(server), dest=tmp_path/'images')
    assert len(is_whole(tmp_path/'images')) == 3
    monkeypatch.undo()
    assert [(w.new, w.there) for w in download('grizzly', n=10, source=service(server), dest=tmp_path/'images').words] == [(7, 3)]

def test_folders_that_cannot_be_written(server, tmp_path):
    with pytest.raises(DataError, match='can not be written'): download('grizzly', source=service(server), dest='/proc/images')
    (tmp_path/'file').touch()
    with pytest.raises(DataError, match='file'): download('grizzly', source=service(server), dest=tmp_path/'file')
    (tmp_path/'images').mkdir()
    (tmp_path/'images'/'grizzly').touch()
    with pytest.raises(DataError, match='grizzly'): download('grizzly', source=service(server), dest=tmp_path/'images')
    assert not server.queries

def _not_as_root(url, dest):
    if os.getuid() == 0: os.setuid(65534)
    with pytest.raises(DataError, match='may not be written|can not be written'):
        download('grizzly', source=Wikimedia(base=f'{url}/commons', net=net(), interval=0), dest=dest)

@pytest.mark.skipif(not hasattr(os, 'getuid'), reason='no users here')
def test_a_read_only_folder(server):
    with tempfile.TemporaryDirectory() as d: # whose parents all may enter
        Path(d).chmod(0o555)
        for dest in (d, f'{d}/images'):
            p = multiprocessing.get_context('fork').Process(target=_not_as_root, args=(server.url, dest))
            p.start()
            p.join()
            assert p.exitcode == 0
        assert os.listdir(d) == [] and not server.queries

@pytest.mark.parametrize('word', ['../../x', 'a/b', 'a\\b', 'CON', 'con.txt', 'nul', 'x'*300, '🐻'*30, '', ' ', '.hidden', 'dots.', 'a:b', 'what?',
                                  'bell\a', 'a\udc80b'])
def test_words_that_can_be_no_folder(server, tmp_path, word):
    with pytest.raises(DataError, match='can not be the name of a folder') as e:
        download(['grizzly', word], source=service(server), dest=tmp_path/'images')
    assert '\n' not in str(e.value) and len(str(e.value)) < 200 and not list(tmp_path.iterdir()) and not server.queries

def test_odd_words_that_can(server, tmp_path):
    for word, folder in {'🐻': '🐻', 'ours\u00a0noir': 'ours_noir', "bear's cub": "bear's_cub", '-x': '-x', 'constable': 'constable'}.items():
        assert download(word, n=1, source=service(server), dest=tmp_path/'images', check=False).words[0].folder == folder
        assert len(picture_files(tmp_path/'images'/folder)) == 1
    for two in (['black bear', 'black_bear'], ['Grizzly', 'grizzly'], ['teddy', 'teddy'], ['caf\u00e9', 'cafe\u0301']):
        with pytest.raises(DataError, match='share the folder'): download(two, source=service(server), dest=tmp_path/'images')

# stopping and going on

def test_the_same_again_fetches_nothing(server, tmp_path):
    for new in (8, 0, 0):
        res = download('grizzly', n=8, source=service(server), dest=tmp_path/'images')
        assert (res.words[0].new, res.words[0].there) == (new, 8 - new)
    assert download('grizzly', n=10, source=service(server), dest=tmp_path/'images').words[0].new == 2
    assert max(server.asked.values()) == 1

def test_another_licence_of_the_same_word(server, tmp_path):
    server.n, dest = 60, tmp_path/'images'
    server.licences = {i: ('cc0', '1.0', '') for i in server.ids('grizzly')[::2]}
    def fetch(n, licence): return download('grizzly', n=n, source=service(server, Openverse, licence=licence), dest=dest, check=False).words[0]
    assert fetch(20, 'cc').new == 20
    word = fetch(25, 'cc0')
    assert (word.new, word.there) == (15, 10) and word.kept == 25 # ten of the twenty are cc0
    assert [r['licence'] for r in rows(dest)][20:] == ['CC0 1.0']*15 and len(is_whole(dest)) == 35
    assert (fetch(25, 'cc0').new, fetch(35, 'cc').new) == (0, 0) and max(server.asked.values()) == 1
    gone = dest/[r for r in rows(dest) if r['licence'] == 'CC BY 2.0'][0]['file']
    gone.unlink()
    assert fetch(60, 'cc').new == 25 and not gone.exists() and max(server.asked.values()) == 1

def test_a_licence_that_its_photographer_changed(server, tmp_path):
    server.licences = {server.ids('grizzly')[0]: ('by-nd', '2.0', '')}
    def fetch(licence): return download('grizzly', n=12, source=service(server, Openverse, licence=licence), dest=tmp_path, check=False).words[0]
    assert fetch('cc').new == 12 and [r['licence'] for r in rows(tmp_path)].count('CC BY-ND 2.0') == 1
    server.licences = {}
    assert [(w.new, w.there) for w in (fetch('by'), fetch('by'))] == [(1, 11), (0, 12)]
    assert {r['licence'] for r in follow_moves(rows(tmp_path)).values()} == {'CC BY 2.0'} and len(picture_files(tmp_path)) == 12

def test_another_size_of_the_same_word(server, tmp_path):
    dest, n = tmp_path/'images', 6
    def fetch(size): return download('grizzly', n=n, source=service(server, size=size), dest=dest, check=False)
    server.side = 60
    assert fetch('small').words[0].new == n
    old = {f.name: f.read_bytes() for f in picture_files(dest)}
    moved, deleted, bad, *_ = picture_files(dest)
    moved.rename(dest/'other.jpg'), deleted.unlink()
    server.faults[bad.stem.split('-')[1]] = ['gone']
    server.side = 120
    res = fetch('large')
    word = res.words[0]
    assert (word.new, word.there, word.elsewhere, word.refused.total()) == (n - 2, 2, 2, 1)
    here = {f.name: f.read_bytes() for f in picture_files(dest/'grizzly')}
    assert here[bad.name] == old[bad.name] and moved.name not in here and deleted.name not in here  # yours stays yours, and the old one until there is a new one
    for f in picture_files(dest/'grizzly'): assert f == bad or f.read_bytes() == picture(f.stem.split('-')[1], 120)
    lines = [r for r in rows(dest) if r['asked'] == 'large']
    assert len(lines) == n - 2 and all(r['size'] == [120, 120] for r in lines) and not [*dest.glob('*/.again')]
    before = sum(server.asked.values())
    assert fetch('large').words[0].new == 0 and sum(server.asked.values()) == before

def test_a_notice_in_place_of_another_size_replaces_nothing(server, tmp_path):
    download('grizzly', n=4, source=service(server, size='small'), dest=tmp_path, check=False)
    old = {f: f.read_bytes() for f in picture_files(tmp_path)}
    for i in server.ids('grizzly'): server.faults[i] = ['png']  # the same picture for all
    res = download('grizzly', n=4, source=service(server), dest=tmp_path, check=False)
    assert 'very same file' in str(res) and sum(f.is_file() and f.read_bytes() == was for f, was in old.items()) >= 3

def test_another_suffix_with_another_size(server, tmp_path):
    download('grizzly', n=2, source=service(server, size='small'), dest=tmp_path, check=False)
    a, b = picture_files(tmp_path)
    (tmp_path/'labels.csv').write_text(f'file,labels\ngrizzly/{a.name},grizzly;teddy\n')
    server.faults[a.stem.split('-')[1]] = ['png']
    assert download('grizzly', n=2, source=service(server), dest=tmp_path, check=False).words[0].new == 2
    assert picture_files(tmp_path) == [a.with_suffix('.png'), b] and f'grizzly/{a.stem}.png,grizzly;teddy' in (tmp_path/'labels.csv').read_text()

@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='no SIGKILL here')
@pytest.mark.parametrize('moment', ['before its line', 'after its line'])
def test_killed_while_another_suffix_takes_its_place(server, tmp_path, moment):
    dest = tmp_path/'images'
    download('grizzly', n=2, source=service(server, size='small'), dest=dest, check=False)
    a, b = picture_files(dest)
    (dest/'labels.csv').write_text(f'file,labels\ngrizzly/{a.name},grizzly;teddy\n')
    new, was = a.with_suffix('.png'), a.read_bytes()
    def work():
        tqdm.tqdm.set_lock(threading.RLock())
        def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
        if moment == 'before its line':
            add = Manifest.add
            Manifest.add = lambda self, row: kill() if row['file'].endswith('.png') else add(self, row)
        else: downloads._retire = kill
        download('grizzly', n=2, source=service(server), dest=dest, check=False)
    server.faults[a.stem.split('-')[1]] = ['png']
    p = multiprocessing.get_context('fork').Process(target=work)
    p.start()
    p.join()
    assert p.exitcode == -signal.SIGKILL and picture_files(dest) == [a, new, b]
    holds, stale = (a, new) if moment == 'before its line' else (new, a)
    report = verify(dest)
    assert picture_files(dest) == [holds, b] and [t.file for t in report.left] == [stale] and f'left: grizzly/{stale.name}: a killed download left it beside' in str(report)
    [aside] = picture_files(tmp_path/'images_set_aside')
    assert aside.name == stale.name and (aside if moment == 'after its line' else holds).read_bytes() == was
    assert (dest/'labels.csv').read_text().splitlines()[1:] == [f'grizzly/{holds.name},grizzly;teddy']
    assert verify(dest).left == []
    server.faults[a.stem.split('-')[1]] = ['png']
    res = download('grizzly', n=2, source=service(server), dest=dest)
    assert res.words[0].kept == 2 and picture_files(dest) == [new, b] and len({r['sha256'] for r in rows(dest) if r.get('asked') == 'large'}) == 2

def _larger(url, dest, n):
    tqdm.tqdm.set_lock(threading.RLock())
    download('grizzly', n=n, source=Wikimedia(base=f'{url}/commons', net=net(), interval=0, size='original'), dest=dest, check=False)

@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='no SIGKILL here')
def test_killed_while_another_size_takes_its_place(tmp_path):
    n, dest = 40, tmp_path/'images'
    with Server(n=n, side=16, latency=.004) as server:
        download('grizzly', n=n, source=service(server, size='small'), dest=dest, check=False)
        server.side, rng = 24, random.Random(3)
        for moment in sorted(rng.randrange(n*9//10) for _ in range(6)):
            p = multiprocessing.get_context('fork').Process(target=_larger, args=(server.url, dest, n))
            p.start()
            while len({r['id'] for r in rows(dest) if r['asked'] == 'original'}) < moment and p.is_alive(): time.sleep(.001)
            p.kill()
            p.join()
            assert len(picture_files(dest)) == n  # an old one or a new one of each, and whole
            for f in picture_files(dest): assert f.read_bytes() in (picture(f.stem.split('-')[1], 16), picture(f.stem.split('-')[1], 24))
        _larger(server.url, dest, n)
        server.shutdown()
    assert all(f.read_bytes() == picture(f.stem.split('-')[1], 24) for f in picture_files(dest)) and not [*dest.glob('*/.again')]
    assert {f: r['sha256'] for f, r in follow_moves(rows(dest)).items()} == {f'grizzly/{f.name}': pictures.sha256(f) for f in picture_files(dest)}

def test_what_was_moved_deleted_or_set_aside_stays_away(server, tmp_path):
    dest = tmp_path/'images'
    server.side = 60  # too small: `verify` sets all aside
    res = download('grizzly', n=4, source=service(server), dest=dest)
    assert len(res.report.small) == 4 and picture_files(dest) == [] and len(picture_files(tmp_path/'images_set_aside')) == 4 and not res.ok
    server.side = 120
    download('teddy', n=4, source=service(server), dest=dest)
    a, b, *_ = picture_files(dest/'teddy')
    a.unlink()
    b.rename(dest/'grizzly'/b.name)
    res = download(['grizzly', 'teddy'], n=4, source=service(server), dest=dest)
    assert [(w.new, w.there, w.elsewhere) for w in res.words] == [(0, 4, 4), (0, 4, 2)] and max(server.asked.values()) == 1

def test_a_note_is_said_of_the_word_it_is_of(tmp_path):
    class Noting(sources.Drawn):
        def search(self, query, n, start=0):
            self.note = f'so it is with {query}'
            return super().search(query, n, start)
    def notes(*words): return [w.note for w in download(words, n=2, source=Noting(), dest=tmp_path, check=False).words]
    assert notes('teddys') == ['so it is with teddys'] and notes('grizzly', 'teddys') == ['so it is with grizzly', '']

def test_a_lost_manifest_is_made_anew(server, tmp_path):
    dest = tmp_path/'images'
    download('grizzly', n=6, source=service(server), dest=dest, check=False)
    before = rows(dest)
    aside = tmp_path/'images_set_aside'/'grizzly'
    aside.mkdir(parents=True)
    moved = picture_files(dest)[0]
    moved.rename(aside/moved.name)
    (dest/'manifest.jsonl').unlink()
    res = download('grizzly', n=6, source=service(server), dest=dest, check=False)
    assert (res.words[0].new, res.words[0].there) == (0, 6) and max(server.asked.values()) == 1
    drop_time = lambda rs: sorted(json.dumps({k: v for k, v in r.items() if k != 'time'}) for r in rs)
    assert drop_time(rows(dest)) == drop_time(before)

def test_a_photograph_found_by_two_words_stays_with_the_first(server, tmp_path):
    class Both:
        name = 'both'
        def search(self, query, n, start=0): return (sources.Record('both', str(i), query, f'{server.url}/photo/l/{i}.jpg') for i in range(3))
        fetch = Wikimedia(net=net()).fetch
    res = download(['one', 'two'], n=3, source=Both(), dest=tmp_path/'images', check=False)
    assert [(w.new, w.there, w.elsewhere) for w in res.words] == [(3, 0, 0), (0, 3, 3)] and len(is_whole(tmp_path/'images')) == 3

def test_ids_that_are_no_names(server, tmp_path):
    class Odd:
        name = 'odd'
        ids = '../../x', 'a/b', '', 'x'*200, 'fine-1'
        def search(self, query, n, start=0): return (sources.Record('odd', i, query, f'{server.url}/photo/l/1.jpg') for i in self.ids)
        fetch = Wikimedia(net=net()).fetch
    res = download('one', n=3, source=Odd(), dest=tmp_path/'images', check=False)
    assert (res.words[0].new, res.words[0].refused.total()) == (1, 4)
    assert sorted(f.name for f in tmp_path.rglob('*.jpg')) == ['odd-fine-1.jpg']

def test_a_manifest_that_is_damaged(server, tmp_path):
    download('grizzly', n=3, source=service(server), dest=tmp_path, check=False)
    file = tmp_path/'manifest.jsonl'
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:40])  # torn
    assert len(rows(tmp_path)) == 3
    download('grizzly', n=3, source=service(server), dest=tmp_path, check=False)
    assert file.read_bytes() == whole
    file.write_bytes(b'x' + whole)
    with pytest.raises(DataError, match='line 1'): download('grizzly', n=3, source=service(server), dest=tmp_path, check=False)
    long = json.dumps({'note': 'x'*200_000})
    file.write_text(long + '\n' + long)
    with Manifest(tmp_path): pass
    assert file.read_text() == long + '\n'
    file.write_text(long)
    with Manifest(tmp_path): pass
    assert file.read_text() == ''

def test_two_downloads_to_one_folder(server, tmp_path):
    with Manifest(tmp_path/'images'), pytest.raises(DataError, match='going on'):
        download('grizzly', n=3, source=service(server), dest=tmp_path/'images')

def _child(url, dest, n):
    tqdm.tqdm.set_lock(threading.RLock())  # the one between processes would be left behind by each that is killed
    source = Wikimedia(base=f'{url}/commons', net=net(), interval=0)
    download(['grizzly', 'teddy'], n=n, source=source, dest=dest, check=False)

@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='no SIGKILL here')
def test_killed_at_fifty_random_moments(tmp_path):
    seed = 5
    print('seed', seed)
    rng, n = random.Random(seed), 150
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['bearclf.data', 'bearclf.sources', 'filelock', 'tqdm', 'PIL.JpegImagePlugin', 'idna', 'test_download'])
    with Server(n=n, side=16, latency=.004) as server:
        _child(server.url, tmp_path/'undisturbed', n)
        assert len(is_whole(tmp_path/'undisturbed')) == 2*n and max(server.asked.values()) == 1
        server.asked.clear()
        safe, dest = set(), tmp_path/'images'
        moments = sorted(rng.randrange(2*n*9//10) for _ in range(50)) # when so many photographs are there
        for moment in moments:
            p = context.Process(target=_child, args=(server.url, dest, n))
            before, queries = dict(server.asked), len(server.queries)
            p.start()
            while len(server.queries) == queries and p.is_alive(): time.sleep(.001)
            while len(picture_files(dest)) < moment and p.is_alive(): time.sleep(.0005)
            time.sleep(rng.uniform(0, .004))
            p.kill()
            p.join()
            assert p.exitcode == -signal.SIGKILL, 'the download was done before the last kill'
            assert not [i for i in safe if server.asked[i] > before[i]], 'what lay there was fetched again'
            for r in rows(dest): assert (dest/r['file']).is_file()
            for f in picture_files(dest): # whole under its final name, and never to be asked for again
                assert f.read_bytes() == picture(f.stem.split('-')[1], 16)
                safe.add(f.stem.split('-')[1])
        before, half = dict(server.asked), len(safe)
        _child(server.url, dest, n)
        assert not [i for i in safe if server.asked[i] > before[i]]
        server.shutdown()
    for line in (dest/'manifest.jsonl').read_bytes().splitlines(keepends=True): assert line.endswith(b'\n') and json.loads(line)['sha256']
    assert len(is_whole(dest)) == 2*n
    drop_time = lambda d: sorted(json.dumps({k: v for k, v in r.items() if k != 'time'}) for r in rows(d))
    assert drop_time(dest) == drop_time(tmp_path/'undisturbed')
    print(f'50 kills, the first with {moments[0]} of {2*n} photographs there, the last with {half}; {sum(server.asked.values())} requests for {2*n}')

# the command

@pytest.fixture
def command(server, monkeypatch, capsys, tmp_path):
    "`bearclf` with services that are the server's."
    for k in ('FLICKR_KEY', 'FLICKR_SECRET', 'OPENVERSE_KEY', 'OPENVERSE_SECRET', 'BEARCLF_CONTACT'): monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path/'config'))
    monkeypatch.chdir(tmp_path)
    for kind in BASES:
        monkeypatch.setattr(kind, 'base', f'{server.url}/{BASES[kind]}')
        monkeypatch.setattr(kind, 'interval', 0)
    monkeypatch.setattr(sources, 'Net', net)
    def run(*args):
        code = cli.main([*map(str, args)])
        out, err = capsys.readouterr()
        assert 'Traceback' not in err
        return code, out, err
    return run

def test_download_and_credits(command, server):
    code, out, err = command('download', 'black bear', 'grizzly', '-n', 5)
    assert code == 0 and 'black bear' in out and 'Wikimedia Commons' in err and '10 pictures in images' in out
    assert len(is_whole(Path('images'))) == 10
    code, out, err = command('download', 'black bear', 'grizzly', '-n', 5)
    assert code == 0 and out.splitlines()[2].split()[2:6] == ['5', '0', '5', '0'] and max(server.asked.values()) == 1
    code, out, err = command('credits', 'images')
    assert code == 0 and out.strip() == str(Path('images/credits.html'))
    page = Path('images/credits.html').read_text()
    assert page.count('<tr><td>') == 10 and 'Ada &amp; Ben' in page and 'creativecommons.org/licenses/by/2.0/' in page
    assert command('verify', 'images')[1].count('no picture:') == 0

def test_the_commands_exit_codes(command, server):
    server.faults[server.ids('grizzly')[0]] = ['gone']
    code, out, err = command('download', 'grizzly', '-n', 5, '--source', 'openverse', '--license', 'by', 'cc0', '--size', 'medium', '--dest', 'a')
    assert code == 1 and '1 refused' in out
    code, out, err = command('download', 'nothing', '-n', 5, '--dest', 'b')
    assert code == 1 and 'nothing was found' in out and not Path('b/nothing').exists() # no label without pictures
    server.api_faults = ['busy-an-hour']
    code, out, err = command('download', 'teddy', '--dest', 'c')
    assert code == 2 and 'asks to wait' in err and 'asks to wait' not in out
    server.n = 3
    code, out, err = command('download', 'teddy', '-n', 5, '--dest', 'd')
    assert code == 0 and '3 of the 5 wanted; the source gave no more' in out
    for wrong in (['--source', 'flickr'], ['--license', 'mine'], ['-n', '0'], ['--source', 'openverse', '--key', 'k'], ['--dest', '/proc/x'], ['--secret', 's'], ['--source', 'wikimedia', '--key', 'k']):
        code, out, err = command('download', 'teddy', *wrong)
        assert code == 2 and out == '' and len(err.strip().splitlines()) <= 2
    assert command('credits', 'gone')[0] == 2

def test_a_key_chooses_flickr(command, monkeypatch):
    code, out, err = command('download', 'teddy', '-n', 1, '--key', 'good')
    assert code == 0 and 'From Flickr' in out and 'not endorsed or certified by SmugMug' in out
    monkeypatch.setenv('FLICKR_KEY', 'bad')
    code, out, err = command('download', 'teddy', '-n', 1, '--dest', 'other')
    assert code == 2 and 'does not know this key' in err and 'bad' not in err
    monkeypatch.delenv('FLICKR_KEY')
    err = command('download', 'teddy', '--source', 'flickr')[2]
    assert 'Flickr Pro' in err and 'need none' in err

def test_who_asks(command, server, monkeypatch):
    hint = 'give your address by --contact'
    code, out, err = command('download', 'teddy', '-n', 2)
    assert code == 0 and hint in out and all('; bearclf@' in a for a in server.agents)
    assert hint not in command('download', 'teddy', '-n', 4)[1]  # said once
    server.agents.clear()
    for i, way in enumerate(('file', 'environment', 'option')):
        if way == 'file':
            (Path('config')/'bearclf').mkdir(parents=True)
            (Path('config')/'bearclf'/'config.ini').write_text('[bearclf]\ncontact = file@example.org\n')
        if way == 'environment': monkeypatch.setenv('BEARCLF_CONTACT', 'https://example.org/environment')
        code, out, err = command('download', 'teddy', '-n', 2, '--dest', way, *(['--contact', 'option@example.org'] if way == 'option' else []))
        assert code == 0 and hint not in out
    assert sorted(re.search(r'; (.*)\)', a)[1] for a in server.agents) == ['file@example.org', 'https://example.org/environment', 'option@example.org']
    asked = len(server.queries)
    code, out, err = command('download', 'teddy', '--contact', 'me\r\nCookie: x')
    assert code == 2 and 'is no address' in err and len(server.queries) == asked

def test_how_many_there_are_before_a_byte_is_fetched(command, server):
    code, out, err = command('download', 'black bear', 'teddy', '--source', 'openverse', '--dry-run')
    assert code == 0 and out == 'black bear: 12 (12 by)\nteddy: 12 (12 by)\n' and not server.asked and not Path('images').exists()
    code, out, err = command('download', 'nothing', 'black bear', '--dry-run')
    assert code == 1 and out == 'nothing: 0\nblack bear: 12 (12 by; by their structured data, of 12 in all)\n' and 'from Wikimedia Commons' in err
    code, out, err = command('download', 'teddy', 'grizzly', '--source', 'inaturalist', '--dry-run')
    assert code == 1 and out.startswith('teddy: iNaturalist has no living thing named teddy; it has') and out.endswith('grizzly: 12 (12 by)\n')
    server.api_faults = ['gone']
    code, out, err = command('download', 'grizzly', '--dry-run')
    assert code == 2 and 'answered 404' in err

def test_keys_for_openverse(command, server, monkeypatch):
    server.rates = {'anon_sustained': ['200/day', 0]}
    code, out, err = command('download', 'teddy', '-n', 1, '--source', 'openverse')
    assert code == 2 and '429' in err
    monkeypatch.setenv('OPENVERSE_KEY', 'good')
    assert 'wants a key and its secret' in command('download', 'teddy', '-n', 1, '--source', 'openverse')[2]
    monkeypatch.setenv('OPENVERSE_SECRET', 'secret')
    assert command('download', 'teddy', '-n', 1, '--source', 'openverse')[0] == 0

def test_noai_unless_asked_otherwise(command, server):
    server.extra = {'X-Robots-Tag': 'noai'}
    assert command('download', 'teddy', '-n', 1, '--dest', 'a')[0] == 1
    assert command('download', 'teddy', '-n', 1, '--dest', 'b', '--despite-noai')[0] == 0

CTRL_C = '''import sys
sys.path.insert(0, {tests!r})
from test_download import net
from bearclf import cli, pictures, sources
sources.Wikimedia.base, sources.Wikimedia.interval, sources.Net = {url!r} + '/commons', 0, net
sys.exit(cli.main(['download', 'grizzly', '-n', '100', '--dest', {dest!r}]))'''

def test_ctrl_c_leaves_what_is_there(tmp_path):
    with Server(n=100, side=120, latency=.1) as server:
        code = CTRL_C.format(tests=str(Path(__file__).parent), url=server.url, dest=str(tmp_path/'images'))
        p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))  # ignored in a shell's background
        while sum(server.sent.values()) < 10 and p.poll() is None: time.sleep(.01)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=PATIENCE)
        assert p.returncode == 130 and 'Traceback' not in err and 'same command' in err and out == ''
        files = picture_files(tmp_path/'images') # one that was just handed to a thread may lack its line; it gets it below
        assert 10 <= len(files) < 100 and len(rows(tmp_path/'images')) >= len(files) - 1
        res = download('grizzly', n=100, source=service(server), dest=tmp_path/'images', check=False)
        assert (res.words[0].new, res.words[0].there) == (100 - len(files), len(files)) and max(server.asked.values()) == 1
        assert len(is_whole(tmp_path/'images')) == 100
        server.shutdown()

def test_inaturalist_by_the_command(command, server):
    server.days = dict.fromkeys(server.ids('grizzly')[3:], '2019-01-01')
    where = ['--source', 'inaturalist', '--place', 'Alaska, US', '--since', '2020-01-01', '--until', '2025-01-01']
    code, out, err = command('download', 'grizzly', '-n', 12, *where)
    assert code == 0 and '3 of the 12 wanted' in out and 'commercial purposes' in out and len(is_whole(Path('images'))) == 3
    asked = len(server.queries)
    for wrong, told in ((['--source', 'inaturalist', '--since', 'May'], 'since is'), (['--place', 'Alaska'], 'leave it out'), (['--source', 'wikimedia', '--tables', '.'], 'leave it out'),
                        (['--source', 'inaturalist-open-data'], 'needs its tables'), (['--source', 'inaturalist-open-data', '--tables', '.'], 'has no taxa.csv.gz')):
        code, out, err = command('download', 'grizzly', *wrong)
        assert code == 2 and told in err and len(err.splitlines()) == 1 and out == ''
    assert len(server.queries) == asked
