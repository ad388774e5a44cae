import pytest

from tests.unit.book import Book


@pytest.fixture
def book() -> Book:
    return Book()
