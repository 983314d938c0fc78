#!/usr/bin/env -S python3 -B
"""Tests of the parts of benches/peers/run that need no proxy: the templates, the figures of the load
generators, and the table."""

import collections
import unittest

import connections
import load
import table
from peers import HERE, fill

WRK = """Running 1s test @ https://localhost:1/v2/group/project/app/manifests/v1
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.07ms  431.39us  12.11ms   91.06%
    Req/Sec    30.21k     1.05k   31.93k    80.00%
  30027 requests in 1.00s, 79.12MB read
{more}Requests/sec:  29990.12
Transfer/sec:     79.02MB
"""
H2LOAD = """finished in 1.00s, 41234.00 req/s, 101.2MB/s
requests: 41298 total, 41298 started, 41234 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {succeeded} 2xx, 0 3xx, {failed} 4xx, 0 5xx
traffic: 101.21MB (106126148) total, 1.02MB (1071234) headers (space savings 90.00%), 99.21MB (104026148) data
"""


class Templates(unittest.TestCase):
    def test_each_template_is_filled(self):
        words = "port admin folder pem certificate key secret registry introspection content"
        values = {word: f"value-of-{word}" for word in words.split()}
        templates = [path for path in HERE.iterdir() if path.suffix in (".yml", ".conf", ".cfg")]
        self.assertEqual(len(templates), 5)
        for path in templates:
            self.assertIn("value-of-", fill(path.name, values))

    def test_a_word_without_a_value_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "moorgate.yml: no value for .*{certificate}"):
            fill("moorgate.yml", {"port": 1})

    def test_nginx_with_auth_does_all_that_nginx_without_auth_does(self):
        def lines(name):
            text = (HERE / name).read_text()
            return collections.Counter(line for line in text.splitlines() if not line.startswith("#"))
        self.assertEqual(lines("nginx-plain.conf") - lines("nginx-auth.conf"), collections.Counter())


class Figures(unittest.TestCase):
    def test_wrk_counts_requests(self):
        self.assertEqual(load.wrk_requests(WRK.format(more="")), 30027)

    def test_a_failed_request_of_wrk_ends_the_run(self):
        refused = "  Non-2xx or 3xx responses: 1\n"
        unread = "  Socket errors: connect 0, read 1, write 0, timeout 0\n"
        late = "  Socket errors: connect 0, read 0, write 0, timeout 1\n"
        for more in (refused, unread, late):
            with self.assertRaises(load.LoadFailed):
                load.wrk_requests(WRK.format(more=more))
        for more in (refused, late):
            with self.assertRaises(load.LoadFailed):
                load.wrk_requests(WRK.format(more=more), closes=True)
        self.assertEqual(load.wrk_requests(WRK.format(more=unread), closes=True), 30027)

    def test_no_request_of_wrk_ends_the_run(self):
        for text in ("", WRK.format(more="").replace("30027", "0")):
            with self.assertRaises(load.LoadFailed):
                load.wrk_requests(text)

    def test_h2load_counts_requests(self):
        self.assertEqual(load.h2load_requests(H2LOAD.format(succeeded=41234, failed=0)), 41234)

    def test_a_failed_request_of_h2load_ends_the_run(self):
        for text in ("", H2LOAD.format(succeeded=41233, failed=1), H2LOAD.format(succeeded=0, failed=0)):
            with self.assertRaises(load.LoadFailed):
                load.h2load_requests(text)

    def test_a_redirect_does_not_count_as_an_answer(self):
        text = H2LOAD.format(succeeded=41234, failed=0).replace("0 3xx", "1 3xx")
        with self.assertRaises(load.LoadFailed):
            load.h2load_requests(text)

    def test_a_frame_has_the_form_of_rfc_9113(self):
        self.assertEqual(connections.frame(connections.HEADERS, 5, 1, b"ab"), b"\0\0\2\1\5\0\0\0\1ab")


class Table(unittest.TestCase):
    RESULTS = {"blob pull": ("s/GB", {"moorgate": [1, 2, 9], "nginx-plain": [2, 8, 10]})}

    def test_a_ratio_is_the_median_of_those_within_the_rounds(self):
        self.assertEqual(table.markdown(self.RESULTS), "\n".join([
            "| work | unit | moorgate | nginx-plain | ÷ nginx-plain |",
            "|---|---|---|---|---|",
            "| blob pull | s/GB | 2 | 8 | 0.50 |"]))

    def test_the_spread_has_the_extreme_rounds(self):
        self.assertEqual(table.spread(self.RESULTS), "blob pull: ÷ nginx-plain 0.25 to 0.90")


if __name__ == "__main__":
    unittest.main()
