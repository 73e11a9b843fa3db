"What Sphinx needs to know; docs/build.py writes the pages that it reads."
from configparser import ConfigParser
from pathlib import Path

_settings = ConfigParser(delimiters=['='])
_settings.read(Path(__file__).parent.parent/'settings.ini', encoding='utf-8')
_settings = _settings['DEFAULT']

project, author, release = _settings['title'], _settings['author'], _settings['version']
copyright = _settings['copyright']
extensions = ['myst_parser', 'sphinx.ext.githubpages']
myst_enable_extensions = ['colon_fence', 'fieldlist']
myst_heading_anchors = 4
add_module_names = False
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = 'hide'
templates_path, html_static_path = ['_templates'], ['_static']
html_theme, html_title, html_css_files = 'furo', project, ['site.css']
html_baseurl = _settings['doc_host'] + _settings['doc_baseurl'] + '/'
html_show_sourcelink, html_copy_source = False, False
html_sidebars = {'**': ['sidebar/brand.html', 'sidebar/search.html', 'sidebar/scroll-start.html', 'sidebar/try.html',
                        'sidebar/navigation.html', 'sidebar/scroll-end.html']}
pygments_style, pygments_dark_style = 'tango', 'monokai'
