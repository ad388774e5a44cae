"""The five calls, free of transport, and thin adapters to transports."""
