"""The shapes in which secrets stand in text and in queries, each with what has to stay as it is."""

import pytest

from handrail.tracing.redact import Redaction

TEXTS = """\
password = sesame
password = "open sesame"
connect(user="u", password = "sesame")
api_key\t=\tsesame
secret := sesame
if token == "sesame":
password="it\\'s sesame \\" sesame"
password=a&sesame
token=&sesame
token=<sesame>
tokens=["sesame", "sesame2"]
auth=("user", "sesame")
password:sesame
Authorization:Token sesame sesame
ClientSecret=sesame ApiKey=sesame
AccessToken: sesame
SecretKey=sesame;PrivateKey=sesame
AccountName=a;AccountKey=sesame==;EndpointSuffix=core.example
tokens=sesame
access_token_v2=sesame
X-Api-Key-2: sesame
{"error":"x","refreshTokens":["sesame", "sesame2"]}
{"password": {"x": "sesame"}}
{"data":{"token":"sesame"}}
{'rows': [{'of': [{'token': 'sesame'}]}]}
{'message': "{'token': 'sesame'}"}
{"body": "{\\"token\\":\\"sesame\\"}"}
Command '['false', '--password', 'sesame']' returned non-zero exit status 1.
mysql --password sesame1 -e x
('token', 'sesame')
Headers([('authorization', 'sesame'), ('accept', '*/*')])
[["cookie", "sesame"], ["accept", "*/*"]]
<wsse:Password Type="text">sesame</wsse:Password>
<password>sesame</password>""".splitlines()

QUERIES = [
    "q=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sesame",
    "filter=Bearer%20sesame99",
    "filter=Bearer+sesame99",
    "q=%7B%22token%22%3A%22sesame%22%7D",
    "q=%257B%2522token%2522%253A%2522sesame%2522%257D",
    '{"token":"sesame"}',
    "tokens=sesame",
    "passwords=sesame",
    "token_v2=sesame",
    "code_verifier=sesame&oauth_verifier=sesame",
    "otp_code=sesame&pin_code=sesame&passcode=sesame",
    "id_token_hint=sesame",
    "secret_key_base=sesame&secret_key_2=sesame",
    "auth_code=sesame&device_code=sesame",
]

PROSE = [
    "status code=404",
    "token expired",
    "the token is: expired",
    "GET /reset/{token:uuid} is not there, {token:>10}",
    "InvalidToken: the message",
    "ExpiredSignature: Signature has expired",
    "missing: ['token', 'password']",
    "token = self._tokens[user] if token is None else token",
    "api_key = os.environ['API_KEY']",
    "if token == other_token:",
    "max_tokens=4096, prompt_tokens: 12",
    "pass --token instead, or --password.",
    "page_token: 7",
    "auth=basic, session:7",
    "secret://vault/x",
    "Token::new",
    "<title>token</title>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_no_shape_of_a_secret_survives_in_text(text: str) -> None:
    """With spaces, without, quoted, in brackets, in CamelCase, as options and as pairs: the value goes."""
    shown = Redaction().text(text)
    assert "sesame" not in shown
    assert "REDACTED" in shown
    assert Redaction().text(shown) == shown


@pytest.mark.parametrize("query", QUERIES)
def test_no_shape_of_a_secret_survives_in_a_query(query: str) -> None:
    """Names that are secret in the plural or with a number; and what is one under a harmless name."""
    assert "sesame" not in Redaction().query(query)
    assert "sesame" not in Redaction().url(f"https://h/?{query}")
    assert Redaction().query(Redaction().query(query)) == Redaction().query(query)


@pytest.mark.parametrize("text", PROSE)
def test_what_is_no_secret_stays(text: str) -> None:
    """Sentences, names of classes, source code without literals, counts."""
    assert Redaction().text(text) == text


def test_counts_are_no_secrets_in_a_query() -> None:
    """What language models count is shown."""
    assert Redaction().query("max_tokens=5&total_tokens=7&q=Basic+plan") == "max_tokens=5&total_tokens=7&q=Basic+plan"
