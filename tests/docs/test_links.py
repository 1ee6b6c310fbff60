"""Links between pages lead somewhere, to the heading they name; the README stays a page."""

import re
from urllib.parse import unquote

import pytest
from harness import ROOT

LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')
FENCE = re.compile(r'^```.*?^```', re.MULTILINE | re.DOTALL)
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for place in ('*.md', 'docs/**/*.md', 'configs/**/*.md', 'tools/**/*.md')
    for path in ROOT.glob(place)
)


def links(page, root=ROOT):
    text = FENCE.sub('', (root / page).read_text(encoding='utf-8'))
    return [link for link in LINK.findall(text) if not re.match(r'[a-z]+:', link)]


def headings(path):
    """The anchors that a page's headings have on the web: words in small letters, joined by hyphens."""
    text = FENCE.sub('', path.read_text(encoding='utf-8'))
    plain = [re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', line) for line in re.findall(r'^#+ (.+)$', text, re.MULTILINE)]
    return {re.sub(r'[^\w\- ]', '', line.strip().lower()).replace(' ', '-') for line in plain}


def problem(page, link, root=ROOT):
    """What is wrong with a link of a page; empty where nothing is."""
    target, _, anchor = unquote(link).partition('#')
    path = ((root / page).parent / target if target else root / page).resolve()
    if not path.exists():
        return f'{link}: there is no such file'
    if anchor and path.suffix == '.md' and anchor not in headings(path):
        return f'{link}: no heading has this anchor'
    return ''


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    assert list(filter(None, (problem(page, link) for link in links(page)))) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / 'a.md').write_text('# One & two\n```\n# no heading\n```\n[x](b.md) [y](#one--two) [z](#no-heading)')
    assert [bool(problem('a.md', link, tmp_path)) for link in links('a.md', tmp_path)] == [True, False, True]


def test_pages_of_the_documentation_are_linked():
    """Each page of docs/ can be reached from the README."""
    reached, waiting = set(), ['README.md']
    while waiting:
        page = waiting.pop()
        if page in reached or not page.endswith('.md') or not (ROOT / page).is_file():
            continue
        reached.add(page)
        for link in links(page):
            target = ((ROOT / page).parent / link.partition('#')[0]).resolve()
            if target.is_dir():
                target = target / 'README.md'
            if target.is_relative_to(ROOT):
                waiting.append(target.relative_to(ROOT).as_posix())
    assert [page for page in PAGES if page.startswith('docs/') and page not in reached] == []


def test_the_readme_is_a_page():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= 100
