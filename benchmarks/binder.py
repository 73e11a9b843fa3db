"""What does the page take on Binder: how large is the base package in an empty environment, and how much memory does the running page need?

    python benchmarks/binder.py

Installs from the package registry. Memory is proportional (PSS) and of all processes: Jupyter's server, the visitor's kernel, the reader and its workers.
Writes benchmarks/results/binder.json."""
import json, subprocess, sys, tempfile, time
from pathlib import Path

from app import FLAGS, mb, picture, tree
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent

def mb_installed(env):
    "Megabytes on disk of an environment with `pip install .`, of that with pip alone, and its number of packages."
    du = lambda: int(subprocess.check_output(['du', '-sm', env], text=True).split()[0])
    subprocess.run([sys.executable, '-m', 'venv', env], check=True)
    empty = du()
    subprocess.run([f'{env}/bin/pip', 'install', '-q', ROOT], check=True)
    return dict(mb=du(), mb_of_an_empty_environment=empty, packages=len(json.loads(subprocess.check_output([f'{env}/bin/pip', 'list', '--format=json']))))

def mb_running(env):
    "Megabytes of the page, served as binder/ has it served, at each step of a visit."
    server = subprocess.Popen([f'{env}/bin/python', '-m', 'jupyter_server', '--no-browser', '--port=8899', '--port-retries=0', '--IdentityProvider.token=', '--allow-root',
                               f'--config={ROOT}/binder/jupyter_server_config.json'], cwd=ROOT, stderr=subprocess.DEVNULL)
    res = {}
    try:
        with sync_playwright() as p:
            time.sleep(10)
            res['server_alone'] = mb(*tree(server.pid))
            page = p.chromium.launch(executable_path='/usr/bin/chromium', args=FLAGS).new_page()
            page.goto('http://localhost:8899/voila/render/nbs/app.ipynb')
            page.locator('[data-example]').first.wait_for()
            res['page_open'] = mb(*tree(server.pid))
            for side in (2000, 7000):
                with page.expect_file_chooser() as chooser: page.click('.bc-choose')
                chooser.value.set_files([dict(name=f'{side}.jpg', mimeType='image/jpeg', buffer=picture(('teddys',), 4, side))])
                page.locator('.bc-card', has_text=f'{side}.jpg').locator('.bc-bars').wait_for()
                res[f'after_a_picture_of_{side}_pixels_a_side'] = mb(*tree(server.pid))
    finally:
        server.terminate()
        server.wait()
    return res

def main():
    with tempfile.TemporaryDirectory() as env:
        res = dict(command='python benchmarks/binder.py', installed=mb_installed(env), mb_running=mb_running(env))
    out = Path(__file__).with_name('results')/'binder.json'
    out.write_text(json.dumps(res, indent=1) + '\n')
    print(out.read_text())

if __name__ == '__main__': main()
