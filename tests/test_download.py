"Downloads, against one server that speaks as the four services do and fails in every way we know of."
import errno, html.parser, json, multiprocessing, os, random, re, signal, socket, subprocess, sys, tempfile, threading, time
from pathlib import Path

import pytest, tqdm

from bearclf import checks, clean, cli, network, pictures, sources
from bearclf.download import download
from bearclf.manifest import Manifest, read_manifest, write_credits
from bearclf.pictures import DataError, PictureError, open_picture, picture_files
from bearclf.sources import Drawn
from bearclf.network import Net
from bearclf.sources import Flickr, INaturalist, Openverse, Wikimedia

sys.path.insert(0, str(Path(__file__).parent))
from server import Server, picture

BASES = {Flickr: 'flickr', Openverse: 'openverse/', INaturalist: 'inaturalist/', Wikimedia: 'commons'}

@pytest.fixture
def server():
    with Server() as s:
        yield s
        s.shutdown()
        assert s.wrong == []

def net(**kwargs): return Net(**{'allow': ['127.0.0.1'], 'backoff': .01, 'max_bytes': 200_000} | kwargs)

def hasty(fault): return net(timeout=(1, .5), total=1) if fault in ('stall', 'drip', 'huge-by-its-header') else net()

def service(server, kind=Wikimedia, key='good', **kwargs):
    keys = (key, 'secret') if kind is Flickr else ()
    return kind(*keys, **{'base': f'{server.url}/{BASES[kind]}', 'net': net(), 'interval': 0} | kwargs)

def rows(dest): return list(read_manifest(dest))

def is_whole(dest):
    "Every picture below `dest` opens, every one has its line and the hash in it, and nothing else lies there."
    files = picture_files(dest)
    known = {dest/r['file']: r for r in rows(dest)}
    assert sorted(known) == files and len(rows(dest)) == len(known)
    for f in files: assert known[f]['sha256'] == pictures.sha256(f) and tuple(known[f]['size']) == open_picture(f).size
    assert not [f for f in dest.rglob('.*') if f.name != '.manifest.jsonl.lock']
    return files

# the services

@pytest.mark.parametrize('kind', BASES)
def test_each_service(server, tmp_path, kind):
    res = download(['black bear', 'grizzly'], n=10, source=service(server, kind), dest=tmp_path/'images')
    assert [(w.query, w.folder) for w in res.words] == [('black bear', 'black_bear'), ('grizzly', 'grizzly')]
    assert all((w.found, w.new, w.there, w.refused.total()) == (10, 10, 0, 0) for w in res.words)
    assert res.trouble == '' and res.report.checked == 20 and kind.title in str(res)
    assert len(is_whole(tmp_path/'images')) == 20
    assert max(server.asked.values()) == 1 and server.busiest <= network.PER_HOST
    for r in rows(tmp_path/'images'):
        assert (r['source'], r['photographer'], r['query']) == (kind.name, 'Ada & Ben', {1: 'black bear', 2: 'grizzly'}[int(r['id'])//10000])
        assert r['licence'] == ('CC BY 4.0' if kind is INaturalist else 'CC BY 2.0')
        assert r['page'].startswith('https://') and r['url'].startswith(server.url) and r['time'].endswith('+00:00')
    assert all(a.startswith('bearclf/') and '@' in a and 'http' in a for a in server.agents)

@pytest.mark.parametrize('kind', BASES)
def test_pages_without_repeats(server, tmp_path, kind):
    server.n, server.overlap = 45, 3
    if kind is Wikimedia: server.n = 120
    source = service(server, kind)
    found = [r.id for r in source.search('grizzly', 20 if kind is Flickr else 44)]
    assert len(found) == len(set(found)) == (20 if kind is Flickr else 44)
    all_of_them = [r.id for r in source.search('grizzly', 1000)]
    assert len(all_of_them) == len(set(all_of_them)) == server.n

def test_wikimedia_may_answer_in_two_halves(server):
    ids = server.ids('grizzly')
    half = [{'pageid': int(i), 'ns': 6, 'title': f'File:{i}.jpg', 'index': k} for k, i in enumerate(ids)]
    server.api_faults = [{'query': {'pages': half}, 'continue': {'iicontinue': 'x', 'continue': '||'}}]
    assert [(r.id, r.url != '') for r in service(server, Wikimedia).search('grizzly', 100)] == [(i, True) for i in ids]

@pytest.mark.parametrize('kind', BASES)
def test_nothing_found(server, tmp_path, kind):
    res = download(['nothing', 'grizzly'], n=2, source=service(server, kind), dest=tmp_path/'images')
    assert [w.new for w in res.words] == [0, 2] and not res.ok and 'nothing: nothing was found' in str(res)

@pytest.mark.parametrize('kind', BASES)
def test_records_that_lack_something(server, tmp_path, kind):
    server.lacking = {server.ids('grizzly')[i] for i in (0, 3)}
    res = download('grizzly', n=8, source=service(server, kind), dest=tmp_path/'images')
    assert (res.words[0].new, res.words[0].refused.total()) == (8, 2) and 'is incomplete' in str(res)
    is_whole(tmp_path/'images')
    with pytest.raises(PictureError, match='incomplete'): service(server, kind).fetch(sources.Record(kind.name, '5', 'grizzly'), tmp_path)

@pytest.mark.parametrize('kind', BASES)
@pytest.mark.parametrize('faults, trouble', [
    (['no-json'], 'no JSON|not in its format'), (['a-list'], 'not in its format'), ([{}], 'without'), ([{'results': 3, 'photos': []}], 'without'),
    (['broken']*4, 'answered 500'), (['broken', 'broken'], ''), (['busy-a-second'], ''), (['busy-an-hour'], 'asks to wait 60 minutes'),
    (['cut'], ''), (['stall']*4, 'fell silent'), (['gone'], 'answered 404')])
def test_a_service_in_trouble(server, tmp_path, kind, faults, trouble):
    server.api_faults = list(faults)
    source = service(server, kind, net=hasty(faults[0]))
    if kind is Flickr and isinstance(faults[0], dict): server.api_faults = [{**faults[0], 'stat': 'ok'}]
    start = time.monotonic()
    res = download(['black bear', 'grizzly'], n=2, source=source, dest=tmp_path/'images', check=False)
    if trouble:
        assert re.search(trouble, res.trouble) and kind.title in res.trouble and res.trouble in str(res) and not res.ok and len(res.words) == 1
        server.api_faults = []
        res = download(['black bear', 'grizzly'], n=2, source=service(server, kind), dest=tmp_path/'images', check=False)
    assert res.ok and [w.new for w in res.words] == [2, 2]
    if faults == ['busy-a-second']: assert time.monotonic() - start > 1

def test_openverse_goes_on_at_the_page_where_it_was_cut_off(server, tmp_path):
    server.n, new = 200, []
    for _ in range(4): # sittings, an hour apart
        server.patience = len(server.queries) + 5
        res = download(['grizzly', 'teddy'], n=170, source=service(server, Openverse), dest=tmp_path/'images', check=False)
        new.append([w.new for w in res.words])
    assert new == [[100], [70, 20], [0, 100], [0, 50]] and res.ok and [w.kept for w in res.words] == [170, 170]
    pages = [(q['q'], q['page']) for _, q in server.queries]
    assert len(pages) - len(set(pages)) == 3 and max(server.asked.values()) == 1  # only what was refused is asked for anew

def test_trouble_in_the_middle_keeps_what_is_there(server, tmp_path):
    server.n = 60
    server.api_faults = [None, None, 'busy-an-hour']
    res = download(['grizzly', 'teddy'], n=50, source=service(server, Openverse), dest=tmp_path/'images', check=False)
    assert res.words[0].new == 40 and len(is_whole(tmp_path/'images')) == 40 and 'asks to wait' in res.trouble
    assert len(server.queries) == 3

def test_no_network(tmp_path):
    source = Wikimedia(base='http://no-such-host.invalid/api.php', net=net(), interval=0)
    assert 'can not be found' in download('grizzly', source=source, dest=tmp_path/'images').trouble
    closed = Wikimedia(base='http://127.0.0.1:9/api.php', net=net(), interval=0)
    assert 'broke off' in download('grizzly', source=closed, dest=tmp_path/'images').trouble

def test_queries_keep_their_distance(server):
    source = service(server, Openverse, interval=.15)
    server.n, start = 60, time.monotonic()
    assert len(list(source.search('grizzly', 60))) == 60
    assert time.monotonic() - start > .3
    assert [service(server, k, interval=None).interval for k in BASES] == [1, 3, 1, 1]

@pytest.mark.parametrize('kind', BASES)
def test_sizes(server, kind):
    wanted = {Flickr: [{'z', 'm'}, {'l', 'z'}, {'k', 'o'}], Openverse: [{'thumb'}, {'o', 'thumb'}, {'o'}],
              INaturalist: [{'medium'}, {'large'}, {'original'}], Wikimedia: [{'500'}, {'960'}, {'o'}]}[kind]
    for size, names in zip(('medium', 'large', 'original'), wanted):
        urls = [r.url.removesuffix('.jpg').split('/') for r in service(server, kind, size=size).search('grizzly', 10)]
        assert {u[-1] if kind is INaturalist else u[-2] for u in urls} == names

def test_flickr_asks_for_licences_by_number(server, tmp_path):
    assert list(service(server, Flickr).search('grizzly', 1))
    assert server.queries[-1][1]['license'] == '1,4,5,9' and server.queries[-1][1]['safe_search'] == '1'
    assert list(service(server, Flickr, licence=['by-sa', 'cc0']).search('grizzly', 1)) == []  # all there is is by
    assert server.queries[-1][1]['license'] == '5,9'
    asked = len(server.queries)
    assert list(service(server, Flickr, licence='by-nc-nd').search('grizzly', 1)) == []                 # which it does not have
    assert [q['method'] for _, q in server.queries[asked:]] == ['flickr.photos.licenses.getInfo']
    server.licence = '0'
    assert list(service(server, Flickr).search('grizzly', 1)) == []
    assert next(service(server, Flickr, licence='any').search('grizzly', 1)).licence == 'All Rights Reserved'
    assert 'license' not in server.queries[-1][1] or '0' in server.queries[-1][1]['license']

def test_other_services_are_asked_for_licences(server):
    list(service(server, Openverse, licence=['by', 'cc0']).search('grizzly', 1))
    assert server.queries[-1][1]['license'] == 'by,cc0'
    list(service(server, INaturalist, licence=['by', 'cc0', 'pdm']).search('grizzly', 1))
    assert server.queries[-1][1]['photo_license'] == 'cc-by,cc0'
    for kind in (Openverse, INaturalist, Wikimedia): assert list(service(server, kind, licence='by-nc').search('grizzly', 5)) == []

def test_flickr_says_what_its_codes_mean(server, tmp_path):
    assert 'key' in download('grizzly', source=service(server, Flickr, key='bad'), dest=tmp_path/'images').trouble
    server.api_faults = [{'stat': 'fail', 'code': 105, 'message': 'Service currently unavailable'}]*2
    assert download('grizzly', n=2, source=service(server, Flickr), dest=tmp_path/'images').trouble == ''
    server.api_faults = [{'stat': 'fail', 'code': 105, 'message': 'Service currently unavailable'}]*3
    def trouble(secret='secret'):
        source = Flickr('good', secret, base=f'{server.url}/flickr', net=net(), interval=0)
        return download('grizzly', n=3, source=source, dest=tmp_path/'images').trouble
    assert 'out of order; what is there already stays' in trouble()
    server.api_faults = [None, {'stat': 'fail', 'code': 1, 'message': 'Too many tags'}]
    assert 'Too many tags' in (said := trouble()) and 'later' not in said
    server.api_faults = [{'stat': 'fail'}]
    assert 'not in its format' in trouble()
    server.api_faults = ['unauthorized']
    assert 'FLICKR_SECRET' in trouble()
    assert 'FLICKR_SECRET' in trouble(secret='wrong') and trouble() == ''

def test_a_cactus_is_no_teddy(server, tmp_path):
    res = download(['teddy', 'Ursus americanus'], n=2, source=service(server, INaturalist), dest=tmp_path/'images')
    assert [w.new for w in res.words] == [0, 2] and 'Teddy-bear Cholla (Cylindropuntia bigelovii)' in str(res)

# photographs that fail

@pytest.mark.parametrize('fault, times, why', [
    ('busy-a-second', 1, ''), ('busy', 3, ''), ('busy', 4, 'answered 429'), ('broken', 3, ''), ('broken', 4, 'answered 500'), ('gone', 1, 'answered 404'),
    ('cut', 1, ''), ('cut', 4, 'broke off'), ('stall', 1, ''), ('stall', 4, 'fell silent'), ('drip', 1, 'was not done after 1 seconds'),
    ('html', 1, 'not a picture'), ('empty', 1, 'is empty'), ('half-a-picture', 1, 'damaged or cut short'),
    ('too-large', 1, 'more than 200,000 bytes'), ('huge-by-its-header', 1, 'more than 200,000 bytes'),
    ('endless', 1, 'more than 200,000 bytes'), ('endless-error', 1, ''),
    ('wrong-type', 1, ''), ('redirect-here', 1, ''),
    ('redirect-other-host', 1, 'private network'),
    ('redirect-private', 1, 'private network'), ('redirect-metadata', 1, 'private network'), ('redirect-file', 1, 'not one of the web'),
    ('redirect-loop', 6, 'without end'), ('redirect-no-dns', 1, 'can not be found')])
def test_a_photograph_in_trouble(server, tmp_path, fault, times, why):
    bad = server.ids('grizzly')[2]
    server.faults[bad] = [fault]*times
    res = download('grizzly', n=6, source=service(server, net=hasty(fault)), dest=tmp_path/'images', check=False)
    files = is_whole(tmp_path/'images')
    assert len(files) == 6 and res.words[0].new == 6
    assert any(f.stem == f'wikimedia-{bad}' for f in files) is (why == '')
    assert [why in w for w in res.words[0].refused] == ([True] if why else []) and (why in str(res))
    if fault == 'redirect-other-host': assert server.asked['78'] == 0  # not a word was sent there

def test_a_host_that_wants_to_be_left_alone_is(server, tmp_path):
    server.n = 60
    for i in server.ids('grizzly')[10:]: server.faults[i] = ['busy-an-hour']
    res = download('grizzly', n=40, source=service(server), dest=tmp_path/'images', check=False)
    assert res.words[0].new == 10 and res.words[0].refused.total() == 50 and sum(server.asked.values()) <= 10 + network.PER_HOST
    assert '50 refused: Its server answered 429 Too Many Requests and asks to wait 60 minutes.' in str(res) and '10 of the 40 wanted' in str(res)

def test_the_suffix_is_that_of_the_content(server, tmp_path):
    server.faults[server.ids('grizzly')[0]] = ['png']
    download('grizzly', n=2, source=service(server), dest=tmp_path/'images', check=False)
    assert [f.suffix for f in is_whole(tmp_path/'images')] == ['.png', '.jpg']

def test_an_allowed_host_is_reached_by_its_name_only(server):
    assert net(allow=['localhost']).get(f'http://localhost:{server.server_address[1]}/photo/l/1.jpg') == picture('1', server.side)
    for host in ('http://localhost', 'https://localhost', 'http://2130706433', 'http://127.1', 'http://[::ffff:127.0.0.1]'):
        with pytest.raises(network.NetError, match='private network'): net().get(f'{host}:{server.server_address[1]}/photo/l/2.jpg')
    assert server.asked['2'] == 0

def test_another_host_is_followed_to(server, tmp_path):
    bad = server.ids('grizzly')[0]
    server.faults[bad] = ['redirect-other-host']
    res = download('grizzly', n=1, source=service(server, net=net(allow=['127.0.0.1', 'localhost'])), dest=tmp_path, check=False)
    assert res.ok and server.asked['78'] == 1 and is_whole(tmp_path)[0].read_bytes() == picture('78', server.side)

@pytest.mark.parametrize('address, refused', {
    '127.0.0.1': True, '0.0.0.0': True, '10.1.2.3': True, '172.16.0.1': True, '192.168.1.1': True, '169.254.169.254': True, '100.64.0.1': True,
    '224.0.0.1': True, '255.255.255.255': True, '::': True, '::1': True, '::127.0.0.1': True, '::ffff:10.0.0.1': True, 'fe80::1%eth0': True,
    'fc00::1': True, 'ff02::1': True, '2002:7f00:1::': True, '64:ff9b::10.0.0.1': True, '64:ff9b::8.8.8.8': False, '8.8.8.8': False,
    '2606:4700:4700::1111': False, '::ffff:8.8.8.8': False}.items())
def test_which_addresses_are_refused(address, refused):
    if not refused: return network._check_address('a.host', address, ())
    with pytest.raises(network.NetError, match='private network'): network._check_address('a.host', address, ())
    network._check_address('a.host', address, {'a.host'})

@pytest.mark.parametrize('host', ['10.0.0.1', '[fc00::1]', '169.254.169.254'])
def test_a_private_address_is_not_even_knocked_at(host, monkeypatch):
    monkeypatch.setattr(socket.socket, 'connect', lambda *args: pytest.fail('it was'))
    with pytest.raises(network.NetError, match='private network'): net().get(f'http://{host}/bear.jpg')

def test_a_name_that_comes_to_stand_for_a_private_address(server, monkeypatch):
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, 'getaddrinfo', lambda host, *args, **kw: real('127.0.0.1' if host == 'rebound.example' else host, *args, **kw))
    with pytest.raises(network.NetError, match='private network'): net().get(f'http://rebound.example:{server.server_address[1]}/photo/l/5.jpg')
    assert server.asked['5'] == 0

def test_at_most_two_at_a_time_where_that_is_the_rule(server, tmp_path, monkeypatch):
    monkeypatch.setattr(network, '_FEWER', {'127.0.0.1': 2})
    server.latency = .02
    download('grizzly', n=12, source=service(server, net=net()), dest=tmp_path, check=False)
    assert server.busiest <= 2

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

def test_a_full_disk_under_the_manifest(tmp_path):
    if not os.path.exists('/dev/full'): pytest.skip('there is no /dev/full')
    with Manifest(tmp_path) as m:
        m.add({'file': 'a', 'source': 's', 'id': '1'})
        f = m._f
        class Full:
            def __getattr__(self, name): return getattr(f, name)
            def write(self, line): return f.write(line[:5])
        m._f = Full()
        with pytest.raises(DataError, match='No space left'): m.add({'file': 'b', 'source': 's', 'id': '2'})
    assert [r['file'] for r in rows(tmp_path)] == ['a']

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
    for k in ('FLICKR_KEY', 'FLICKR_SECRET'): monkeypatch.delenv(k, raising=False)
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
    assert code == 1 and 'nothing was found' in out
    server.api_faults = ['busy-an-hour']
    code, out, err = command('download', 'teddy', '--dest', 'c')
    assert code == 2 and 'asks to wait' in err and 'asks to wait' not in out
    server.n = 3
    code, out, err = command('download', 'teddy', '-n', 5, '--dest', 'd')
    assert code == 0 and '3 of the 5 wanted; the source gave no more' in out
    for wrong in (['--source', 'flickr'], ['--license', 'mine'], ['-n', '0'], ['--key', 'k'], ['--dest', '/proc/x']):
        code, out, err = command('download', 'teddy', *wrong)
        assert code == 2 and out == '' and len(err.strip().splitlines()) <= 2
    assert command('credits', 'gone')[0] == 2

def test_a_key_chooses_flickr(command, monkeypatch):
    code, out, err = command('download', 'teddy', '-n', 1, '--key', 'good', '--secret', 'secret')
    assert code == 0 and 'From Flickr' in out
    monkeypatch.setenv('FLICKR_KEY', 'bad')
    monkeypatch.setenv('FLICKR_SECRET', 's')
    code, out, err = command('download', 'teddy', '-n', 1, '--dest', 'other')
    assert code == 2 and 'does not know this key' in err

CTRL_C = '''import sys
sys.path.insert(0, {tests!r})
from test_download import net
from bearclf import cli, sources
sources.Wikimedia.base, sources.Wikimedia.interval, sources.Net = {url!r} + '/commons', 0, net
sys.exit(cli.main(['download', 'grizzly', '-n', '100', '--dest', {dest!r}]))'''

def test_ctrl_c_leaves_what_is_there(tmp_path):
    with Server(n=100, side=120, latency=.1) as server:
        code = CTRL_C.format(tests=str(Path(__file__).parent), url=server.url, dest=str(tmp_path/'images'))
        p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))  # ignored in a shell's background
        while sum(server.sent.values()) < 10 and p.poll() is None: time.sleep(.01)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=30)
        assert p.returncode == 130 and 'Traceback' not in err and 'same command' in err and out == ''
        files = picture_files(tmp_path/'images') # one that was just handed to a thread may lack its line; it gets it below
        assert 10 <= len(files) < 100 and len(rows(tmp_path/'images')) >= len(files) - 1
        res = download('grizzly', n=100, source=service(server), dest=tmp_path/'images', check=False)
        assert (res.words[0].new, res.words[0].there) == (100 - len(files), len(files)) and max(server.asked.values()) == 1
        assert len(is_whole(tmp_path/'images')) == 100
        server.shutdown()

def test_credits_name_what_was_moved_and_set_aside(server, tmp_path):
    dest = tmp_path/'images'
    server.side = 90
    download('grizzly', n=1, source=service(server), dest=dest)                                # too small: `verify` sets it aside
    server.side = 120
    download(['grizzly', 'teddy'], n=10, source=service(server), dest=dest)
    copies = checks.dedupe(dest).copies                                                          # the server has eight pictures
    c = clean.Cleaner(dest)
    c.move(0, 'teddy' if c.pictures[0].labels == ('grizzly',) else 'grizzly')
    c.set_aside(1)
    page = write_credits(dest).read_text()
    assert copies and page.count('<tr><td>') == page.count('>Ada &amp; Ben<') == page.count('licenses/by/2.0/') == 20
    assert page.startswith('<!doctype html>') and '20 photographs<' in page and 'set aside: grizzly' in page
    assert {o['why'].split()[0] for o in rows(dest) if 'why' in o} == {'is', 'duplicate', 'by'}

def test_credits_escape_what_strangers_wrote(tmp_path):
    download('grizzly', n=3, source=Drawn(), dest=tmp_path)
    evil = '"><script>alert(1)</script>\u202e'
    old = rows(tmp_path)
    with Manifest(tmp_path) as m:
        for r, page in zip(old, ('javascript:alert(1)', 'https://x/"onclick="alert(1)', evil)):
            m.add(r | {'photographer': evil, 'licence': evil, 'page': page})
    class Look(html.parser.HTMLParser):
        tags, links = set(), []
        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)
            assert not [k for k, _ in attrs if k.startswith('on')]
            self.links += [v for k, v in attrs if k == 'href']
    look = Look()
    look.feed(write_credits(tmp_path, tmp_path/'c.html').read_text(encoding='utf-8'))
    assert 'script' not in look.tags and look.links == ['https://x/"onclick="alert(1)']
    with Manifest(tmp_path) as m: m.add({'file': old[0]['file'], 'moved_to': 'other/x (2).jpg', 'why': 'by hand'})
    (tmp_path/'other').mkdir()
    (tmp_path/old[0]['file']).rename(tmp_path/'other'/'x (2).jpg')
    (tmp_path/'grizzly'/'mine.jpg').write_bytes(picture_files(tmp_path)[0].read_bytes())
    assert 'the source of 1 is not known' in write_credits(tmp_path).read_text()
    with pytest.raises(DataError): write_credits(tmp_path/'gone')
