"""The words and the shapes that redact.py goes by; only data."""

from __future__ import annotations

REDACTED = "[redacted]"


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


PASSWORDS = _set(
    """
    password passwords passwd passphrase passcode pwd
    """
)
SECRETS = _set(
    """
    secret secrets credential credentials creds authorization cookie cookies apikey apikeys apitoken
    authtoken accesstoken refreshtoken bearertoken hftoken secretkey accesskey privatekey sshkey
    signingkey encryptionkey jwt
    """
)
# What stands before "token" where it is a piece of text or of a model, and not something that opens a door.
TEXT_TOKENS = _set(
    """
    cls class pad padding eos bos unk unknown mask masked sep image img video audio vision visual text
    speech start end stop begin beginning first last next prev previous current special extra additional
    register memory latent query prompt completion word sub subword char byte time frame patch object
    obj action state reward goal task language lang eol newline boi eoi eot eom eod eoh sot fim prefix
    suffix middle infix tool think thinking reasoning role per by each every new input output generated
    predicted target source src tgt decoder encoder forced suppress blank silence space whitespace
    delimiter separator split placeholder cluster dist distill distillation global local summary segment
    seg sentence doc document position pos readout learnable null empty dummy sink pause cross self
    point box cell gene dna rna atom residue node edge graph relation entity control style speaker bad
    good best top rare random trigger no non num n max min total avg mean cost price loss multi single
    inter intra fake noise noisy mem ctx context motion pose depth head body
    """
)
# What stands before "key" where it opens a door. Other keys are a column, a dict or an attention key.
DOOR_KEYS = _set(
    """
    api access secret private auth account encryption signing signature ssh gpg pgp tls ssl rsa aes hmac
    fernet jwt service master license licence subscription app application client consumer deploy shared
    session webhook admin wandb hf hub huggingface openai anthropic claude gemini comet neptune clearml
    mlflow aws gcp azure google openrouter cohere mistral groq together replicate deepseek xai github
    gitlab slack stripe sendgrid twilio datadog dd pinecone tavily serpapi langsmith langchain s3 minio
    r2 gcs storage_account maps
    """
)
DOOR_TOKENS = _set(
    """
    api access auth refresh bearer session security oauth hf github gitlab personal
    """
)
DOOR_PASSES = _set(
    """
    db user smtp imap mysql pg postgres redis mongo auth ftp proxy mail email admin root
    """
)
# A name that ends so speaks about a secret and does not hold it.
ABOUT = _set(
    """
    path paths file files filename dir directory folder name names env envvar type kind length len size
    count num dim dims ids index limit expiry expires expiration ttl lifetime age manager provider
    backend policy field column format strength mode url uri endpoint
    """
)
FLAGS = _set(
    """
    use no not enable disable with without has is add save require allow skip show include
    """
)
QUERY_NAMES = _set(
    """
    sig signature sign auth code passwd pass x-amz-credential x-goog-credential
    """
)
HARMLESS = frozenset(("", "none", "null", "true", "false", "yes", "no", "on", "off", REDACTED))
USER_IS_NO_SECRET = _set(
    """
    ssh git+ssh svn+ssh sftp rsync hg+ssh bzr+ssh
    """
)

URL = r"(?<![\w+.\-])[A-Za-z][A-Za-z0-9+.\-]{0,30}://[^\s'\"<>`]+"
SCHEME = r"(?<![\w+.\-])[A-Za-z][A-Za-z0-9+.\-]{0,30}://"
ONE_URL = r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://\S+"
PARAMETER = r"([?&;#])([\w.\-%\[\]]{1,64})=([^&#;\s\"']*)"
# name=value, "name": value (JSON, repr), and name: value at the end of a line (YAML).
ASSIGNMENT = (
    r"(^|[\s\"'{(\[,;&?|+\-])([A-Za-z_][\w.\-]{1,63})"
    r"(=|\s+=\s*|[\"']\s*[:=]\s*|(?:(?<=\w):[ \t]+(?=\S+[ \t]*(?:$|[\r\n]))))"
    r"(?:(\"[^\"\r\n]*\"|'[^'\r\n]*')|([^\s\"',;&)\]}]+))"
)
_EDGE = r"(?<![A-Za-z0-9])"
WEBHOOKS = (
    ("hooks.slack.com/", r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[^\s?#]+"),
    ("/api/webhooks/", r"(/api/webhooks/)[^\s?#]+"),
    ("api.telegram.org/bot", r"(api\.telegram\.org/bot)[^\s/?#]+"),
    ("webhook.office.com/", r"(webhook\.office\.com/)[^\s?#]+"),
)
SHAPES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("PRIVATE KEY",),
        (
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
            r"(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
        ),
        REDACTED,
    ),
    (
        ("sk-",),
        _EDGE
        + r"sk-(?:(?:proj|ant|or|svcacct|admin|None|live|test|lf)-[\w\-]{8,}|(?=[A-Za-z]*\d)[A-Za-z0-9]{12,}"
        r"|[A-Za-z0-9]{20,})[\w\-]*",
        REDACTED,
    ),
    (("k_live_", "k_test_"), _EDGE + r"[srp]k_(?:live|test)_[A-Za-z0-9]{8,}", REDACTED),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _EDGE + r"gh[pousr]_[A-Za-z0-9]{8,}", REDACTED),
    (("github_pat_",), _EDGE + r"github_pat_[A-Za-z0-9_]{8,}", REDACTED),
    (
        ("hf_", "api_org_"),
        _EDGE + r"(?:hf|api_org)_(?:(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{16,}|[a-z]{20,})",
        REDACTED,
    ),
    (("AKIA", "ASIA", "ABIA", "ACCA"), _EDGE + r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])", REDACTED),
    (("xox", "xapp-"), _EDGE + r"(?:xox[a-z]|xapp)-[A-Za-z0-9\-]{10,}", REDACTED),
    (("AIza",), _EDGE + r"AIza[0-9A-Za-z_\-]{30,}", REDACTED),
    (("ya29.", "GOCSPX-"), _EDGE + r"(?:ya29\.|GOCSPX-)[0-9A-Za-z_\-]{16,}", REDACTED),
    (
        ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "glft-"),
        _EDGE + r"gl(?:pat|dt|rt|ptt|cbt|soat|ft)-[\w\-]{8,}(?:\.[\w\-]+)*",
        REDACTED,
    ),
    (
        ("npm_", "gsk_", "r8_", "dop_v1_", "lsv2_"),
        _EDGE + r"(?:npm|gsk|r8|dop_v1|lsv2_[a-z]{2})_\w{24,}",
        REDACTED,
    ),
    (("pypi-", "nvapi-", "xai-", "pplx-"), _EDGE + r"(?:pypi|nvapi|xai|pplx)-[\w\-]{24,}", REDACTED),
    (
        ("dapi", "dckr_pat_", "SG."),
        _EDGE + r"(?:dapi[0-9a-f]{32}|dckr_pat_[\w\-]{16,}|SG\.[\w\-]{16,}\.[\w\-]{16,})",
        REDACTED,
    ),
    (("eyJ",), _EDGE + r"eyJ[\w\-]{8,}\.[\w\-]{4,}(?:\.[\w\-]*)+", REDACTED),
    (("Bearer ",), r"\bBearer +[A-Za-z0-9._~+/\-]{6,}=*", "Bearer " + REDACTED),
    (
        ("bearer ", "BEARER "),
        r"\b([Bb][Ee]\w{4}) +(?=[^\s]*\d|[^\s]{20})[A-Za-z0-9._~+/\-]{8,}=*",
        r"\1 " + REDACTED,
    ),
    (
        ("uthorization", "UTHORIZATION"),
        (
            r"((?i:authorization)[\"']?\s*[:=]\s*[\"']?(?:(?i:basic|bearer|token|digest|negotiate|apikey)\s+)?)"
            r"(?!\[redacted\]|(?i:bearer|basic)\b)[^\s\"',]+"
        ),
        r"\1" + REDACTED,
    ),
)
