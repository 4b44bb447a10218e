"""The demo's model API, asked by the official clients."""

import anthropic
import httpx
import openai
import pytest

from binary_semantic_cache.proxy.demo.answers import answer_to, pieces
from binary_semantic_cache.proxy.demo.upstream import Pace, running_demo_upstream

QUESTION = "How do I undo the last commit in git?"
ANSWER = answer_to(QUESTION)
MESSAGES = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def url():
    with running_demo_upstream(Pace(0.0, 0.0)) as found:
        yield found


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as found:
        yield found


@pytest.fixture
def claude(url):
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as found:
        yield found


def test_every_answer_says_that_it_is_a_demo():
    for question in (QUESTION, "What is the capital of France?", "Why?", ""):
        assert answer_to(question).startswith("[demo model] ")


def test_another_question_has_another_answer_and_the_same_one_the_same():
    assert answer_to(QUESTION) == answer_to(QUESTION)
    assert len({answer_to(text) for text in (QUESTION, QUESTION.replace("commit", "merge"), "Why?")}) == 3


def test_pieces_join_to_the_text():
    for text in ("", " ", "one", "one  two\n three ", ANSWER):
        assert "".join(pieces(text)) == text


def test_chat_answers_whole_and_streamed(client):
    whole = client.chat.completions.create(model="demo-small", messages=MESSAGES)
    assert whole.choices[0].message.content == ANSWER
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    with client.chat.completions.stream(
        model="demo-small", messages=MESSAGES, stream_options={"include_usage": True}
    ) as stream:
        streamed = stream.get_final_completion()
    assert streamed.choices[0].message.content == ANSWER
    assert streamed.usage.total_tokens == whole.usage.total_tokens


def test_a_limit_of_tokens_cuts_the_answer(client, claude):
    cut = client.chat.completions.create(model="m", messages=MESSAGES, max_tokens=3)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)
    assert claude.messages.create(model="m", messages=MESSAGES, max_tokens=3).stop_reason == "max_tokens"
    assert client.responses.create(model="m", input=QUESTION, max_output_tokens=3).status == "incomplete"


def test_responses_answer_whole_and_streamed(client):
    assert client.responses.create(model="demo-small", input=QUESTION).output_text == ANSWER
    with client.responses.stream(model="demo-small", input=QUESTION) as stream:
        final = stream.get_final_response()
    assert (final.output_text, final.status) == (ANSWER, "completed")


def test_completions_answer_whole_and_streamed(client):
    assert client.completions.create(model="demo-small", prompt=QUESTION).choices[0].text == ANSWER
    with client.completions.create(model="demo-small", prompt=QUESTION, stream=True) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream) == ANSWER


def test_messages_answer_whole_and_streamed(claude):
    whole = claude.messages.create(model="demo-small", messages=MESSAGES, max_tokens=1000)
    assert (whole.content[0].text, whole.stop_reason) == (ANSWER, "end_turn")
    with claude.messages.stream(model="demo-small", messages=MESSAGES, max_tokens=1000) as stream:
        final = stream.get_final_message()
    assert final.content[0].text == ANSWER
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_embeddings_are_the_same_for_the_same_text_in_either_encoding(client):
    as_floats = client.embeddings.create(model="m", input=["a", "b"], dimensions=8, encoding_format="float")
    as_base64 = client.embeddings.create(model="m", input=["a", "b"], dimensions=8)
    assert [each.embedding for each in as_floats.data] == [each.embedding for each in as_base64.data]
    assert as_floats.data[0].embedding != as_floats.data[1].embedding


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["demo-small", "demo-large"]
    assert client.models.retrieve("demo-small").id == "demo-small"


def test_without_a_key_it_answers_401_in_its_apis_words(url):
    chat = httpx.post(f"{url}/v1/chat/completions", json={"messages": MESSAGES})
    assert chat.status_code == 401
    assert chat.json()["error"]["type"] == "authentication_error"
    messages = httpx.post(f"{url}/v1/messages", json={"messages": MESSAGES})
    assert messages.status_code == 401
    assert messages.json()["type"] == "error"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"messages": 1}', b'{"messages": []}', b"[" * 9999])
def test_a_malformed_body_is_a_400(url, content):
    reply = httpx.post(f"{url}/v1/chat/completions", content=content, headers={"authorization": "Bearer x"})
    assert reply.status_code == 400


def test_another_path_is_a_404(client):
    with pytest.raises(openai.NotFoundError):
        client.files.list()
