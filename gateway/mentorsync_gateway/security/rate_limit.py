"""A rate limit for each client address, and how the address is found behind load balancers."""

from mentorsync_gateway.config import Config, insert_filter, manager_of

MAX_ADDRESSES = 65_536  # counted at a time; the one that was idle for longest is forgotten first. About 20 MB at most
# An IPv6 customer has a whole /64: a limit for each single address would not limit anyone.
ADDRESS = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
# No limit for all addresses together: one caller could use it up for the others.
UNLIMITED = 4_294_967_295


def apply_to_listener(listener: Config, requests_a_second: int) -> None:
    """Limits each client address. A second's requests may come at once."""
    insert_filter(listener, _filter(requests_a_second))


def trust_proxies(listener: Config, proxies: int) -> None:
    """Takes the client's address from x-forwarded-for, as the last of so many trusted proxies has noted it."""
    manager_of(listener)["xff_num_trusted_hops"] = proxies


def _filter(requests_a_second: int) -> Config:
    bucket = _bucket(requests_a_second)
    descriptor = {"entries": [{"key": "masked_remote_address"}], "token_bucket": bucket}
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "address",
            "filter_enabled": ALWAYS,
            "filter_enforced": ALWAYS,
            "rate_limits": [{"actions": [ADDRESS]}],
            "descriptors": [descriptor],
            "max_dynamic_descriptors": MAX_ADDRESSES,
            "token_bucket": _bucket(UNLIMITED),
            "always_consume_default_token_bucket": False,
            "rate_limited_as_resource_exhausted": True,  # to gRPC callers; the default is UNAVAILABLE
            "response_headers_to_add": [{"header": {"key": "retry-after", "value": "1"}}],
        },
    }


def _bucket(requests_a_second: int) -> Config:
    return {"max_tokens": requests_a_second, "tokens_per_fill": requests_a_second, "fill_interval": "1s"}
