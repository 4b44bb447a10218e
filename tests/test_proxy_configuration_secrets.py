"""The secrets of the proxy's configuration: where they come from, and that none is shown."""

import pytest

from binary_semantic_cache.proxy.configuration.reading import read_configuration
from proxy_configurations import KNOWN_KEY, TOKEN, problems, read


def test_secrets_come_from_variables_and_from_files_that_keys_and_variables_name(tmp_path):
    (tmp_path / "openai").write_text("sk-one\n")
    (tmp_path / "anthropic").write_text("sk-two")
    text = (
        f'[upstream]\nopenai_api_key_file = "{tmp_path}/openai"\n[keys]\naccept = "configured"\n{KNOWN_KEY}'
    )
    environment = {
        "BSC_SERVER_ADMIN_TOKEN": TOKEN,
        "BSC_UPSTREAM_ANTHROPIC_API_KEY_FILE": f"{tmp_path}/anthropic",
    }
    settings = read(tmp_path, text, environment).settings
    assert settings.server.admin_token == TOKEN
    assert settings.upstream.openai_api_key == "sk-one"
    assert settings.upstream.anthropic_api_key == "sk-two"


def test_a_secrets_variable_wins_over_a_file_that_the_configuration_names(tmp_path):
    (tmp_path / "token").write_text("x" * 20)
    text = f'[server]\nadmin_token_file = "{tmp_path}/token"'
    assert read(tmp_path, text).settings.server.admin_token == "x" * 20
    assert read(tmp_path, text, {"BSC_SERVER_ADMIN_TOKEN": TOKEN}).settings.server.admin_token == TOKEN


def test_a_secret_given_by_two_variables_is_refused(tmp_path):
    both = {"BSC_SERVER_ADMIN_TOKEN": TOKEN, "BSC_SERVER_ADMIN_TOKEN_FILE": "x"}
    assert problems(tmp_path, "", both) == [
        "expected one of BSC_SERVER_ADMIN_TOKEN and BSC_SERVER_ADMIN_TOKEN_FILE, got both; unset one of them"
    ]


def test_a_secret_in_a_file_or_on_a_command_line_is_refused_and_not_shown(tmp_path):
    found = problems(tmp_path, '[upstream]\nopenai_api_key = "sk-canary"', server__admin_token="sk-canary")
    assert len(found) == 2
    assert "bsc.toml:2: upstream.openai_api_key: a secret does not belong into this file" in found[0]
    assert "set BSC_SERVER_ADMIN_TOKEN" in found[1]
    assert "canary" not in "".join(found)


@pytest.mark.parametrize("text", [" ", "two words-canary", "schl\u00fcssel-canary", "x" * 5000])
def test_a_secret_that_is_not_one_word_is_refused_and_not_shown(tmp_path, text):
    (found,) = problems(tmp_path, "", {"BSC_SERVER_ADMIN_TOKEN": text})
    assert found.startswith("BSC_SERVER_ADMIN_TOKEN: expected ")
    assert "canary" not in found


def test_a_secrets_file_that_is_missing_is_told_with_the_key(tmp_path):
    (found,) = problems(tmp_path, '[server]\nadmin_token_file = "nowhere"')
    assert found == "bsc.toml:2: server.admin_token_file: nowhere: no such file"


def test_no_secret_is_in_the_repr_of_the_settings():
    environment = {"BSC_SERVER_ADMIN_TOKEN": TOKEN}
    assert TOKEN not in repr(read_configuration(environment=environment))
