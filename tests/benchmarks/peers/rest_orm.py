"""FastAPI over Peewee's ORM, the usual alternative to this service. An application factory for uvicorn."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from mentorsync.config import DATABASE_URL

from tests.benchmarks.peers.orm import ThreadedOrm
from tests.benchmarks.peers.rest import build_app
from tests.benchmarks.peers.storage import Storage


@asynccontextmanager
async def open_orm() -> AsyncIterator[Storage]:
    orm = ThreadedOrm(os.environ[DATABASE_URL.variable])
    yield Storage(orm, orm)


def create_app() -> FastAPI:
    return build_app(open_orm)
