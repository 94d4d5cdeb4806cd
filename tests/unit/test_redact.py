"""Secrets are found by name and by shape; what only sounds like one stays."""

import random
import string
import subprocess
import sys
from typing import NamedTuple

import pytest

from autotrack.redact import (
    is_secret_name,
    known_copy,
    redact_argv,
    redact_mapping,
    redact_text,
    redact_url,
    redact_value,
)

MARK = "[redacted]"
ALNUM = string.ascii_letters + string.digits


def words(text):
    return text.split()


SECRET_NAMES = words(
    """
    password passwd db_password dbPassword PGPASSWORD MYSQL_PWD smtp_pass user.password ssh-passphrase
    PASSWORD_1 password2 secret client_secret clientSecret SECRET_KEY AWS_SECRET_ACCESS_KEY
    django.secret_key app_secret_value api_key apikey apiKey API-KEY OPENAI_API_KEY x-api-key
    openai_api_key_2 WANDB_API_KEY --wandb-key wandb_key APIKey token HF_TOKEN hf_token auth_token
    authToken access_token refreshToken GITHUB_TOKEN HUGGING_FACE_HUB_TOKEN hub_token use_auth_token
    bot_token my_token model.hub.token api_tokens wandb/token private_key privateKey ssh_key signing_key
    encryption_key master_key license_key storage_account_key access_key aws_access_key_id credentials
    credential creds gcp_credentials GOOGLE_APPLICATION_CREDENTIALS authorization proxy_authorization
    cookie session_cookie basic_auth auth jwt AZURE_CLIENT_SECRET
    """
)

PLAIN_NAMES = words(
    """
    lr learning_rate batch_size epochs optimizer model_name tokenizer tokenizer_name tokenizers
    use_cls_token num_memory_tokens max_new_tokens max_tokens pad_token_id token_type_ids eos_token
    bos_token cls_token pad_token unk_token mask_token sep_token image_token tokens tokens_per_second
    token_dropout token_embedding num_tokens max_tokens_per_batch cost_per_token additional_special_tokens
    num_register_tokens token_ids prompt_tokens lr_key monkey keyboard primary_key sort_key key keys
    key_dim num_key_value_heads key_padding_mask foreign_key partition_key dict_key query_key cache_key
    image_key label_key target_key state_dict_keys keyframe hotkey token_file token_path password_file
    api_key_path secret_name credentials_file api_key_name HF_TOKEN_PATH passes n_passes forward_pass
    backward_pass bypass compass passenger secretary author authors authority authenticate PWD OLDPWD
    accuracy cookiecutter pin_memory signature seed max_token_length token_merging detokenize
    """
)

A16 = "aB3dE6gH9jK2mN5p"
SHAPES = [
    f"sk-{A16}{A16}",
    "sk-1234567890abcdef",
    f"sk-proj-{A16}_{A16}-x",
    f"sk-ant-api03-{A16}-{A16}",
    f"sk_live_{A16}",
    f"ghp_{A16}{A16}abcd",
    f"gho_{A16}{A16}abcd",
    f"github_pat_11ABCDEFG0{A16}_{A16}",
    f"hf_{A16}{A16}ab",
    "hf_abcdefghijklmnopqrstuvwxyzabcdefgh",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-1234567890123-" + A16,
    "xoxp-123456789012-" + A16,
    f"AIzaSy{A16}{A16}a",
    f"glpat-{A16}abcd",
    f"npm_{A16}{A16}abcd",
    f"pypi-AgEIcHlwaS5vcmc{A16}",
    f"gsk_{A16}{A16}",
    "dapi0123456789abcdef0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
]

URLS = [
    ("https://user:pass@git.example.com/a.git", "https://[redacted]@git.example.com/a.git"),
    ("https://TOKENabc@github.com/o/r.git", "https://[redacted]@github.com/o/r.git"),
    ("https://TOKENabc:x-oauth-basic@github.com/o/r.git", "https://[redacted]@github.com/o/r.git"),
    ("https://oauth2:glpat-x@gitlab.com/o/r", "https://[redacted]@gitlab.com/o/r"),
    ("git+https://tok@h/r.git@v1.2#egg=x", "git+https://[redacted]@h/r.git@v1.2#egg=x"),
    ("https://h/r.git?private_token=abc", "https://h/r.git?private_token=[redacted]"),
    ("https://h/r?a=1&access_token=abc&b=2", "https://h/r?a=1&access_token=[redacted]&b=2"),
    ("https://a.blob/x?sv=2024&sig=ab%2Bc&se=1", "https://a.blob/x?sv=2024&sig=[redacted]&se=1"),
    ("https://s3/x?X-Amz-Signature=abc&X-Amz-Date=1", "https://s3/x?X-Amz-Signature=[redacted]&X-Amz-Date=1"),
    ("postgresql://me:p@ss@db:5432/runs", "postgresql://[redacted]@db:5432/runs"),
    ("postgresql+psycopg://me:a/b#c@db/runs", "postgresql+psycopg://[redacted]@db/runs"),
    ("redis://:hunter2@cache:6379/0", "redis://[redacted]@cache:6379/0"),
    ("mysql://h/db?user=u&password=p", "mysql://h/db?user=u&password=[redacted]"),
    (
        "jdbc:sqlserver://h:1433;user=u;password=p;x=1",
        "jdbc:sqlserver://h:1433;user=u;password=[redacted];x=1",
    ),
    ("http://a:b@c,http://d:e@f", "http://[redacted]@c,http://[redacted]@f"),
    ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/services/[redacted]"),
    ("ssh://git:pw@h/r.git", "ssh://[redacted]@h/r.git"),
]

PLAIN_TEXTS = [
    "",
    "adam",
    "</s>",
    "<|im_start|>",
    "[CLS]",
    "sk-learn-pipeline-2024-experiment",
    "task-1234567890abcdef1234",
    "hf_transformers_model_v2",
    "hf-internal-testing/tiny-random-gpt2",
    "/data/tokens/train.bin",
    "https://huggingface.co/bert-base-uncased/resolve/main/tokenizer.json",
    "https://github.com/o/r.git",
    "https://h/x?page=2&key=name&token_type=bpe",
    "http://localhost:8080/path@v2",
    "http://localhost:8000/@vite/client",
    "ssh://git@github.com/o/r.git",
    "git@github.com:o/r.git",
    "s3://bucket/path/key=3/part.parquet",
    "postgresql:///runs",
    "sqlite:////tmp/a@b.db",
    "me@example.com",
    "a bearer certificate",
    "tokenizer=bpe, cls_token=True, use_cls_token=yes-please",
    "sort_key=name primary_key=id",
    "max_new_tokens=128 lr=0.1",
    "def f(key=lambda x: x): return x",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "550e8400-e29b-41d4-a716-446655440000",
    "C:\\Users\\me\\token\\file.txt",
    "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
    "epoch={epoch}-val_loss={val_loss:.2f}",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_is_known_by_its_name(name):
    assert is_secret_name(name)
    assert redact_value(name, "correct horse battery") == MARK


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_name_that_only_sounds_secret_keeps_its_value(name):
    assert not is_secret_name(name)
    assert redact_value(name, "correct horse battery") == "correct horse battery"


@pytest.mark.parametrize("secret", SHAPES)
def test_a_secret_is_known_by_its_shape_wherever_it_stands(secret):
    for frame in (
        "{}",
        "curl -H 'x: {}'",
        "a,{},b",
        '{{"x": "{}"}}',
        "line\n{}\nline",
        "x={}",
        "({})",
        "see {}.",
    ):
        kept = redact_value("model_name", frame.format(secret))
        assert secret not in kept
        assert secret[8:] not in kept
        assert MARK in kept


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_plain_text_stays_as_it_is(text):
    assert redact_value(None, text) == text
    assert redact_mapping({"note": [text]}) == {"note": [text]}


@pytest.mark.parametrize(("url", "kept"), URLS)
def test_addresses_lose_users_passwords_and_secret_parameters(url, kept):
    assert redact_url(url) == kept
    assert redact_value("remote", url) == kept
    assert redact_text(f"cloning {url} now") == f"cloning {kept} now"


def test_a_private_key_is_cut_out_also_when_its_end_is_missing():
    body = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"] * 20)
    for kind in ("", "RSA ", "OPENSSH ", "EC ", "ENCRYPTED "):
        pem = f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"
        assert redact_text(f"a\n{pem}\nb") == f"a\n{MARK}\nb"
        assert redact_text(pem[:-20]) == MARK


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted]"),
        ('{"Authorization": "token abcdef"}', '{"Authorization": "[redacted]"}'),
        ("Bearer abc.def-ghi", "Bearer [redacted]"),
        ("export HF_TOKEN=abcdefgh; run", "export HF_TOKEN=[redacted]; run"),
        ("python t.py --api-key=abc123 --lr 0.1", "python t.py --api-key=[redacted] --lr 0.1"),
        ("connect(user='me', password='hunter2')", "connect(user='me', password='[redacted]')"),
        ('{"api_key": "abc", "lr": 0.1}', '{"api_key": "[redacted]", "lr": 0.1}'),
        ("{'db_password': 'a b c'}", "{'db_password': '[redacted]'}"),
        ("lr: 0.1\npassword: hunter2\nx: 1", "lr: 0.1\npassword: [redacted]\nx: 1"),
        ("Server=h;Uid=u;Pwd=hunter2;", "Server=h;Uid=u;Pwd=[redacted];"),
        ("AccountName=a;AccountKey=Zm9vYmFy==;E=x", "AccountName=a;AccountKey=[redacted];E=x"),
    ],
)
def test_secrets_named_inside_a_text_are_redacted(text, kept):
    assert redact_text(text) == kept


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (["t.py", "--token", "abcdef", "--lr", "0.1"], ["t.py", "--token", MARK, "--lr", "0.1"]),
        (["t.py", "--wandb-key=abc"], ["t.py", f"--wandb-key={MARK}"]),
        (["t.py", "-api_key", "abc", "x"], ["t.py", "-api_key", MARK, "x"]),
        (["t.py", "hub.token=abc", "+db.password=1"], ["t.py", f"hub.token={MARK}", f"+db.password={MARK}"]),
        (["t.py", SHAPES[0]], ["t.py", MARK]),
        (["t.py", "--name", SHAPES[5]], ["t.py", "--name", MARK]),
        (["curl", "-H", "Authorization: Bearer abcdef12"], ["curl", "-H", f"Authorization: Bearer {MARK}"]),
        (["t.py", "--password", "--lr", "1"], ["t.py", "--password", "--lr", "1"]),
        (["t.py", "--password", "-x9!"], ["t.py", "--password", MARK]),
        (["t.py", "--db", "https://u:p@h/x"], ["t.py", "--db", f"https://{MARK}@h/x"]),
        (["t.py", "--db=https://u:p@h/x"], ["t.py", f"--db=https://{MARK}@h/x"]),
        (["-c", "f(password='hunter2')"], ["-c", f"f(password='{MARK}')"]),
    ],
)
def test_command_lines_lose_their_secrets(argv, kept):
    assert redact_argv(argv) == kept


@pytest.mark.parametrize(
    "argv",
    [
        ["t.py", "--use_cls_token", "data.csv"],
        ["t.py", "--use-auth-token", "data.csv"],
        ["t.py", "--num_memory_tokens", "8", "--tokenizer", "bpe"],
        ["t.py", "--cls_token", "<s>", "--pad_token=<pad>", "--eos_token", "</s>"],
        ["t.py", "--max_new_tokens=128", "--sort-key", "name", "lr_key=x"],
        ["t.py", "--token", "<s>", "--use_token=True"],
        ["t.py", "--password-file", "/run/pw", "--hf_token=None"],
        ["python", "-m", "a.b", "--flag", "--", "positional"],
    ],
)
def test_command_lines_without_secrets_stay_as_they_are(argv):
    assert redact_argv(argv) == argv


def test_nested_containers_are_copied_and_redacted():
    class Pair(NamedTuple):
        user: str
        password: str

    config = {
        "model": {"hub": {"token": "abc"}, "eos_token": "</s>", "layers": [1, 2, (3, {"api_key": "k"})]},
        "secrets": {"db": {"host": "h", "port": 5432}, "list": ["a", "b"]},
        "login": Pair("me", "hunter2"),
        "env": [{"name": "HF_TOKEN", "value": "abcdef"}, {"name": "LR", "value": "0.1"}],
        "cmd": ["train", "--token", "abcdef", "--lr", "0.1"],
        "tags": {"a", "b"},
        "raw": b"https://u:p@h/x",
        "data": b"\x00\xff",
        SHAPES[0]: 1,
    }
    before = repr(config)
    assert redact_mapping(config) == {
        "model": {"hub": {"token": MARK}, "eos_token": "</s>", "layers": [1, 2, (3, {"api_key": MARK})]},
        "secrets": {"db": {"host": MARK, "port": 5432}, "list": [MARK, MARK]},
        "login": ("me", MARK),
        "env": [{"name": "HF_TOKEN", "value": MARK}, {"name": "LR", "value": "0.1"}],
        "cmd": ["train", "--token", MARK, "--lr", "0.1"],
        "tags": {"a", "b"},
        "raw": b"https://[redacted]@h/x",
        "data": b"\x00\xff",
        MARK: 1,
    }
    assert repr(config) == before


def test_pwd_is_a_working_folder_or_a_password():
    assert redact_mapping({"PWD": "/home/me", "pwd": "hunter2"}) == {"PWD": "/home/me", "pwd": MARK}


def test_numbers_and_switches_stay_under_every_name_but_a_passwords():
    config = {"token": 5, "api_key": 1.5, "use_password": True, "secret": None, "password": 1234, "pin": 1}
    assert redact_mapping(config) == {**config, "password": MARK}


def test_a_container_inside_itself_is_cut():
    loop: dict = {"a": [1]}
    loop["a"].append(loop)
    assert redact_mapping(loop) == {"a": [1, "[cycle]"]}


def test_two_keys_that_are_secrets_both_stay():
    assert redact_mapping({SHAPES[0]: 1, SHAPES[5]: 2}) == {MARK: 1, f"{MARK} 2": 2}


def test_redacting_twice_changes_nothing_more():
    for text in [
        *SHAPES,
        *(u for u, _ in URLS),
        *PLAIN_TEXTS,
        "Authorization: Basic abcdefgh",
        "password=abc",
    ]:
        once = redact_text(text)
        assert redact_text(once) == once
    assert redact_argv(redact_argv(["--token", "abcdefgh"])) == ["--token", MARK]


def test_random_secrets_under_random_names_never_survive():
    rng = random.Random(7)
    for _ in range(3000):
        name = rng.choice(SECRET_NAMES)
        value = "".join(rng.choices(ALNUM + "-_.!$%&/+~@#", k=rng.randint(8, 40)))
        value = "Zq" + value  # never a flag, a number or a word such as None
        assert value not in redact_value(name, value)
        assert value not in str(redact_mapping({"a": [{name: value}]}))
        assert value not in " ".join(redact_argv(["t.py", f"--{name.lstrip('-')}={value}"]))


def test_random_passwords_in_addresses_never_survive():
    rng = random.Random(8)
    for _ in range(3000):
        password = "Zq" + "".join(rng.choices(ALNUM + "-_.!$&+~*#/?", k=rng.randint(6, 30)))
        user = rng.choice(["", "me", "oauth2"])
        kept = redact_url(f"postgresql://{user}:{password}@host:5432/db")
        assert password not in kept
        assert kept.endswith("host:5432/db")


def test_random_plain_settings_stay():
    rng = random.Random(9)
    words = [
        "adam",
        "resnet50",
        "cosine",
        "data/train.csv",
        "gpt2-medium",
        "bf16",
        "0.001",
        "runs/2024-01-01",
        "a b",
    ]
    for _ in range(3000):
        name, value = rng.choice(PLAIN_NAMES), rng.choice(words)
        assert redact_value(name, value) == value
        assert redact_argv([f"--{name}", value, f"{name}={value}"]) == [f"--{name}", value, f"{name}={value}"]


def test_what_was_looked_at_before_is_copied_as_it_was_the_first_time():
    rng = random.Random(10)
    names = [*PLAIN_NAMES, *SECRET_NAMES, "name", "key", "value", "password", "nested"]
    texts = ["adam", "resnet50", "--token", "x" * 70, MARK, "password=abc", "hf_" + "a1" * 20]

    def some(depth):
        kind = rng.randrange(8 if depth else 6)
        if kind == 6:
            return {rng.choice(names): some(depth - 1) for _ in range(rng.randrange(5))}
        if kind == 7:
            return [some(depth - 1) for _ in range(rng.randrange(4))]
        return [None, True, 3, 0.5, rng.choice(texts), (1, "adam")][kind]

    copies = 0
    for _ in range(3000):
        values = {rng.choice(names): some(5) for _ in range(rng.randrange(5))}
        redacted = redact_mapping(values)
        known = known_copy(values)
        copies += known is not None
        assert known is None or (known, repr(known)) == (redacted, repr(redacted))
        assert known is not values
    assert copies > 300


def test_much_is_not_copied_in_one_pass():
    values = {str(place): [0] * 100 for place in range(70)}
    redact_mapping(values)
    assert known_copy(dict(list(values.items())[:5])) is not None
    assert known_copy(values) is None


def test_a_copy_of_what_is_known_shares_nothing():
    values = {"lr": 0.1, "layers": {"sizes": [8, 4]}}
    redact_mapping(values)
    copy = known_copy(values)
    copy["layers"]["sizes"].append(2)
    assert values == {"lr": 0.1, "layers": {"sizes": [8, 4]}}


def test_any_text_is_taken_and_in_linear_time():
    rng = random.Random(10)
    alphabet = ALNUM + " \t\n=:;,'\"@/?#&%-_.<>[]{}()\\\x00\ud800é😀"
    pieces = [
        "://",
        "token",
        "password=",
        "sk-",
        "Bearer ",
        "-----BEGIN RSA PRIVATE KEY-----",
        "hf_",
        "@",
    ]
    for _ in range(2000):
        parts = [rng.choice(pieces) if rng.random() < 0.3 else rng.choice(alphabet) for _ in range(60)]
        text = "".join(parts)
        assert isinstance(redact_text(text), str)
        assert redact_argv(text.split(" ")) is not None
    for piece in (
        "a",
        "a=",
        "token ",
        "password",
        "x://",
        "eyJaaaaaaaa.",
        "sk-",
        "-",
        "@",
        ":",
        "Bearer ",
        "'",
    ):
        code = f"import autotrack.redact as r, sys; r.redact_text({piece!r} * (400_000 // len({piece!r})))"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_importing_it_compiles_no_expression():
    code = (
        "import re, autotrack.redact as r\n"
        "r.redact_argv(['train.py', '--lr', '0.1', '--out', 'runs/a'])\n"
        "print(len(r._COMPILED))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "0"
