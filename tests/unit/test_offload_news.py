"""Waiting for news of jobs, and what is kept of those who do."""

from __future__ import annotations

import asyncio

from lite.ipld.cid import CID, RAW
from lite.offload.news import News

JOB = CID.of(b"job", RAW)


def test_nothing_is_kept_of_whoever_waits_no_more() -> None:
    async def story() -> None:
        news = News()
        for number in range(1_000):
            assert not await news.wait(news.of(f"did:key:stranger{number}"), 0)
        assert len(news._news) <= 1

    asyncio.run(story())


def test_all_who_wait_for_the_same_are_woken() -> None:
    async def story() -> None:
        news = News()
        taken = [news.of("did:key:a"), news.of(JOB), news.of("did:key:a"), news.of("did:key:b")]
        news.tell("did:key:a", JOB, over=False)
        assert [one.is_set() for one in taken] == [True, True, True, False]
        assert not news.of("did:key:a").is_set(), "the next news are others"
        news.close()
        assert taken[-1].is_set()

    asyncio.run(story())
