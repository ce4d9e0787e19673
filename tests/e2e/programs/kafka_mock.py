"""A broker of librdkafka's own, for its tests of itself: kafka_mock.py LIBRARY. Prints its port, and serves until standard input ends.

It refuses the first request to produce for want of a leader, and the first commit of offsets because the coordinator is not ready.
"""

import ctypes
import sys

PRODUCER = 0
PRODUCE, OFFSET_COMMIT = 0, 8
NOT_LEADER_OR_FOLLOWER, COORDINATOR_LOAD_IN_PROGRESS = 6, 14

library = ctypes.CDLL(sys.argv[1])
for name in ["rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"]:
    getattr(library, name).restype = ctypes.c_void_p
library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
reason = ctypes.create_string_buffer(512)
handle = library.rd_kafka_new(PRODUCER, ctypes.c_void_p(library.rd_kafka_conf_new()), reason, ctypes.c_size_t(512))
assert handle, reason.value
cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(ctypes.c_void_p(handle), 1))
for key, error in [(PRODUCE, NOT_LEADER_OR_FOLLOWER), (OFFSET_COMMIT, COORDINATOR_LOAD_IN_PROGRESS)]:
    errors = (ctypes.c_int * 1)(error)
    library.rd_kafka_mock_push_request_errors_array(cluster, ctypes.c_int16(key), ctypes.c_size_t(1), errors)
print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode().rpartition(":")[2], flush=True)
sys.stdin.read()
