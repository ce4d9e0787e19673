"""What benchmarks are made of: servers, loads, probes and the agent, each something that is started, asked, and ended."""
