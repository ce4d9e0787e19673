//! End-to-end tests of the agent with real programs.
