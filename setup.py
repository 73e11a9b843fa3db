"The package's metadata, read from settings.ini; the code is written in nbs/ and exported to bearclf/."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

parser = ConfigParser(delimiters=['='])
parser.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
cfg = parser['DEFAULT']
extras = {name: cfg[f'{name}_requirements'].split() for name in ('train', 'parquet', 'xmp', 'ray', 'docs')}

# links and pictures of README as seen from PyPI
readme = re.sub(r'\]\((?!\w+:|#)', f'](https://github.com/{cfg["user"]}/{cfg["repo"]}/raw/main/', Path(__file__).with_name('README.md').read_text(encoding='utf-8'))

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=readme,
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    license='Apache-2.0',
    keywords=cfg['keywords'],
    packages=['bearclf'],
    package_data={'bearclf': ['models/*.onnx', 'static/*', 'static/*/*', 'py.typed']},
    python_requires='>=' + cfg['min_python'],
    install_requires=cfg['requirements'].split(),
    extras_require=extras | {'dev': sum(extras.values(), cfg['dev_requirements'].split())},
    entry_points={'console_scripts': cfg['console_scripts'].split()},
    classifiers=['Programming Language :: Python :: 3', 'Framework :: Jupyter'],
    zip_safe=False,
)
