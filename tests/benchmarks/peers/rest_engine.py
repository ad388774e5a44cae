"""FastAPI over this project's storage engine, to compare it with gRPC and Envoy. An application factory for uvicorn."""

import os
from functools import partial

from fastapi import FastAPI
from mentorsync.config import DATABASE_URL

from tests.benchmarks.peers.engine import open_engine_storage
from tests.benchmarks.peers.rest import build_app


def create_app() -> FastAPI:
    return build_app(partial(open_engine_storage, os.environ[DATABASE_URL.variable]))
