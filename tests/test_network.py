"A careful way to the network, against a server that misbehaves."
import socket, types

import pytest

from bearclf import network
from bearclf.download import download
from bearclf.sources import Openverse
from server import Server, hasty, is_whole, net, picture, service

@pytest.mark.parametrize('fault, times, why', [
    ('busy-a-second', 1, ''), ('busy', 1, 'answered 429'), ('busy-for-some-time', 1, 'answered 429'), ('broken', 3, ''), ('broken', 4, 'answered 500'), ('gone', 1, 'answered 404'),
    ('cut', 1, ''), ('cut', 4, 'broke off'), ('stall', 1, ''), ('stall', 4, 'fell silent'), ('drip', 1, 'was not done after 1 seconds'),
    ('html', 1, 'not a picture'), ('empty', 1, 'is empty'), ('half-a-picture', 1, 'damaged or cut short'),
    ('too-large', 1, 'more than 200,000 bytes'), ('huge-by-its-header', 1, 'more than 200,000 bytes'),
    ('endless', 1, 'more than 200,000 bytes'), ('endless-error', 1, ''), ('bomb', 1, 'more than 200,000 bytes'), ('forbidden', 1, 'answered 403'),
    ('wrong-type', 1, ''), ('redirect-here', 1, ''), ('redirect-endless', 1, ''),
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
    word = res.words[0]
    assert word.new <= 10 and word.new + word.refused.total() + word.left.total() == 60
    assert word.refused.total() == sum(server.asked.values()) - word.new <= network.AT_ONCE  # all others were not asked for
    assert 'refused: Its server answered 429 Too Many Requests and asks to wait 60 minutes.' in str(res) and ' of the 40 wanted' in str(res)

def test_a_wait_may_be_a_date(server):
    server.faults['7'], net_ = ['busy-three-hours'], net()
    for _ in range(2):
        with pytest.raises(network.NetError, match='answered 429 Too Many Requests and asks to wait 3 hours'): net_.get(f'{server.url}/photo/l/7.jpg')
    assert server.asked['7'] == 1

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

@pytest.fixture
def named(monkeypatch):
    "Every name under .example and .org stands for this machine."
    real = socket.getaddrinfo
    def look(host, *args, **kw): return real('127.0.0.1' if str(host).endswith(('.example', '.org')) else host, *args, **kw)
    monkeypatch.setattr(socket, 'getaddrinfo', look)
    return lambda *names, **kw: net(allow=['127.0.0.1', *names], **kw)

def test_wikimedia_is_asked_for_two_at_a_time_over_all_its_hosts(server, tmp_path, named):
    server.hosts = ['thumb.wikimedia.org', 'upload.wikimedia.org']
    server.latency, server.n = .02, 30
    res = download('grizzly', n=30, source=service(server, net=named(*server.hosts)), dest=tmp_path, check=False)
    assert res.ok and server.most['wikimedia.org'] == 2 and len(is_whole(tmp_path)) == 30

def test_an_owner_without_a_rule_starts_low(server, tmp_path):
    owner, seen = network._Owner('photos.example'), []
    for _ in range(30):
        seen.append(owner.places)
        owner.answered(True)
    assert seen[:16] == [2, 2, 4, 4, 4, 4, *[8]*8, 12, 12] and owner.places == network.AT_ONCE
    owner.refused(True, network._Busy('answered 429', owner, 429, None), 0, again=False)
    assert owner.places == 2
    server.latency, server.n = .02, 60
    assert download('grizzly', n=60, source=service(server), dest=tmp_path, check=False).ok
    assert 2 < server.busiest <= network.AT_ONCE

def test_no_more_than_25_mbit_a_second_over_ten_seconds(monkeypatch):
    clock, read = types.SimpleNamespace(now=100.), []
    def sleep(seconds): clock.now += seconds
    monkeypatch.setattr(network, 'time', types.SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    owner = network._Owner('wikimedia.org')
    for i in range(3000):
        read.append((clock.now, 65536))
        owner.read(65536)
        if i % 700 == 0: sleep(8)   # a pause is no credit
    times = [t for t, _ in read]
    for start in times[::50]: assert sum(n for t, n in read if start <= t < start + 10)*8/10 <= 25e6*1.01
    assert times[700] - times[1] > 699*65536*8/25e6 - .1

def test_a_wait_holds_all_requests_to_an_owner(monkeypatch):
    slept = []
    monkeypatch.setattr(network, 'time', types.SimpleNamespace(monotonic=lambda: 100., sleep=slept.append))
    owner = network._Owner('photos.example')
    owner.refused(True, network._Busy('answered 429', owner, 429, 5), 1, again=True)
    for is_file in (True, False):
        with owner.place(is_file): pass
    assert slept == [5., 5.]
    for _ in range(3): owner.refused(True, network._Busy('answered 429', owner, 429, 600), 1, again=False)
    with owner.place(False): pass
    with pytest.raises(network.NetError, match='answered 429'), owner.place(True): pass

@pytest.mark.parametrize('fault, status', [('busy', 429), ('forbidden', 403)])
def test_who_refuses_three_times_in_a_row_is_left_alone(server, tmp_path, fault, status):
    server.n, net_ = 60, net()
    for i in server.ids('grizzly')[20:]: server.faults[i] = [fault]*9
    res = download('grizzly', n=40, source=service(server, net=net_), dest=tmp_path, check=False)
    word = res.words[0]
    assert word.new <= 20 and word.new + word.refused.total() + word.left.total() == 60
    assert 3 <= word.refused.total() == sum(server.asked.values()) - word.new <= 3 + network.AT_ONCE and f'{word.left.total()} left, not asked for: ' in str(res)
    assert sum(i not in server.sent for i in server.asked) <= 3 + network.AT_ONCE and max(server.asked.values()) == 1 # each once, a few in all
    assert f'Its server answered {status} ' in str(res) and '3 times in a row, so 127.0.0.1 is left alone; the same command goes on in an hour' in str(res)
    before = sum(server.asked.values())
    download('teddy', n=5, source=service(server, net=net_), dest=tmp_path, check=False)
    assert sum(server.asked.values()) == before  # for as long as the run lasts
    server.faults = {}
    res = download('grizzly', n=40, source=service(server), dest=tmp_path, check=False)  # another day
    assert res.ok and res.words[0].kept == 40

def test_a_refusal_now_and_then_closes_nothing(server, tmp_path):
    server.n = 60
    for i in server.ids('grizzly')[1::6]: server.faults[i] = ['forbidden']
    owner = network._Owner('photos.example')
    for _ in range(20):
        for again in (False, False): owner.refused(True, network._Busy('answered 403', owner, 403, None), 0, again)
        owner.answered(True)
    with owner.place(True): pass
    assert download('grizzly', n=5, source=service(server), dest=tmp_path, check=False).words[0].new == 5

def test_a_word_goes_on_from_other_hosts(server, tmp_path, named):
    server.hosts, server.n = ['one.example', 'two.other.example', 'photos.third.org'], 60
    server.refusing = {'two.other.example'}
    net_ = named(*server.hosts)
    res = download(['grizzly', 'teddy'], n=30, source=service(server, Openverse, net=net_, size='original'), dest=tmp_path, check=False)
    assert [w.new for w in res.words] == [30, 30] and 'so other.example is left alone' in str(res)
    asked = [host for host, path, _ in server.heads if path.startswith('/photo/')]
    assert asked.count('two.other.example') <= 5 # three, and those on their way

def test_nothing_of_the_users_goes_to_a_stranger(server, tmp_path, monkeypatch):
    secret = tmp_path/'.netrc'
    secret.write_text('default login me password secret\nmachine 127.0.0.1 login me password secret\n')
    secret.chmod(0o600)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('NETRC', str(secret))
    server.extra = {'Set-Cookie': 'visitor=7; Path=/'}
    server.faults[server.ids('grizzly')[0]] = ['redirect-here']
    res = download('grizzly', n=6, source=service(server), dest=tmp_path/'images', check=False)
    net().get(server.url.replace('//', '//me:secret@') + '/photo/l/9.jpg') # nor what stands in an address
    assert res.ok and len(server.heads) > 6
    for _, _, head in server.heads: assert not {'Authorization', 'Proxy-Authorization', 'Cookie', 'Referer'} & {*head}

def test_a_token_stays_with_its_host(server, named):
    net_ = named('one.example', 'two.example')
    port = server.server_address[1]
    server.api_faults = ['redirect-two']
    net_.query(f'http://one.example:{port}/commons', {'a': 1}, headers={'Authorization': 'Bearer secret'})
    assert [(host, head.get('Authorization')) for host, _, head in server.heads] == [('one.example', 'Bearer secret'), ('two.example', None)]

def test_a_proxys_password_is_for_the_proxy(server, monkeypatch):
    with Server() as proxy:
        monkeypatch.setenv('http_proxy', proxy.url.replace('//', '//me:secret@'))
        monkeypatch.setenv('no_proxy', '127.0.0.1')
        proxy.faults['5'] = ['redirect-beyond']
        proxy.beyond = f'{server.url}/photo/l/6.jpg'
        assert net(allow=['127.0.0.1', 'photos.example']).get('http://photos.example/photo/l/5.jpg') == picture('6', server.side)
        proxy.shutdown()
    [(host, _, head)], [(_, _, beyond)] = proxy.heads, server.heads
    assert host == 'photos.example' and head['Proxy-Authorization'].startswith('Basic ') and 'Authorization' not in head
    assert not {'Authorization', 'Proxy-Authorization'} & {*beyond}

def test_who_wants_no_network_to_learn(server, tmp_path):
    server.extra = {'X-Robots-Tag': 'otherbot: noindex, NoAI'}
    res = download('grizzly', n=3, source=service(server), dest=tmp_path/'a', check=False)
    assert res.words[0].new == 0 and '12 refused: Its server asks that no network learns from the picture' in str(res)
    assert download('grizzly', n=3, source=service(server, net=net(despite_noai=True)), dest=tmp_path/'b', check=False).words[0].new == 3
    server.extra = {'X-Robots-Tag': 'noarchive'}
    assert download('grizzly', n=3, source=service(server), dest=tmp_path/'c', check=False).words[0].new == 3

def test_queries_come_compressed_and_photographs_as_they_are(server, tmp_path):
    download('grizzly', n=2, source=service(server), dest=tmp_path, check=False)
    assert {head['Accept-Encoding'] for _, path, head in server.heads if path.startswith('/photo/')} == {'identity'}
    assert {head['Accept-Encoding'] for _, path, head in server.heads if path == '/commons'} == {'gzip'}
