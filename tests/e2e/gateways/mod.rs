//! Routes of real gateways: Envoy Gateway, and istiod with a plain Envoy. They need both on the cluster:
//! `make long` runs them, and nothing else does.

mod bed;
mod shares;
mod weights;
