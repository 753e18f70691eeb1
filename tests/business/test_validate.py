"""validate_business_data: valid data, the code of every error, and the security score."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from gatewright.business import KnownNames, country_code, risk_level, security_score, validate_business_data
from gatewright.errors import FieldError, ValidationError

CLEAN = {
    "company_name": "Acme Manufacturing Corp",
    "email": "contact@acme-manufacturing.com",
    "business_license": "BL-2024-001234",
    "tax_id": "12-3456789",
    "website": "https://www.acme-manufacturing.com/about?x=1",
    "phone": "+1 415 555 2671",
    "address": {
        "street": "123 Industrial Way",
        "city": "Detroit",
        "state": "MI",
        "zip": "48201",
        "country": "US",
    },
    "bank_account": "DE89 3704 0044 0532 0130 00",
}


def codes(findings: list[FieldError]) -> list[tuple[str, str]]:
    return [(finding.field, finding.error_type) for finding in findings]


def errors_of(**changes: object) -> list[tuple[str, str]]:
    return codes(validate_business_data({**CLEAN, **changes}).errors)


def warnings_of(**changes: object) -> list[tuple[str, str]]:
    report = validate_business_data({**CLEAN, **changes})
    assert report.errors == []
    return codes(report.warnings)


def test_clean_data_has_nothing_to_say() -> None:
    """Valid data has no errors or warnings, the full score, and canonical forms."""
    report = validate_business_data(CLEAN)
    assert report.is_valid
    assert (report.errors, report.warnings, report.security_score) == ([], [], 1.0)
    assert report.normalized["phone"] == "+14155552671"
    assert report.normalized["tax_id"] == "123456789"
    assert report.normalized["bank_account"] == "DE89370400440532013000"
    assert report.normalized["address"]["country"] == "US"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("company_name", "", "EMPTY_REQUIRED_FIELD"),
        ("company_name", "   ", "EMPTY_REQUIRED_FIELD"),
        ("company_name", None, "EMPTY_REQUIRED_FIELD"),
        ("company_name", "x" * 201, "FIELD_TOO_LONG"),
        ("company_name", "Acme\x00Corp", "INVALID_COMPANY_NAME"),
        ("company_name", "Ac\u200bme", "INVALID_COMPANY_NAME"),
        ("company_name", "---", "INVALID_COMPANY_NAME"),
        ("company_name", "\u3164", "INVALID_COMPANY_NAME"),
        ("company_name", "\u115f\u1160", "INVALID_COMPANY_NAME"),
        ("company_name", "Acme\u2800", "INVALID_COMPANY_NAME"),
        ("company_name", "Acme" + "\u0336" * 5, "INVALID_COMPANY_NAME"),
        ("company_name", 42, "INVALID_FIELD_TYPE"),
        ("email", "invalid-email", "INVALID_EMAIL_FORMAT"),
        ("email", "a@b", "INVALID_EMAIL_FORMAT"),
        ("email", "a@acme.invalid", "INVALID_EMAIL_FORMAT"),
        ("email", "@acme.com", "INVALID_EMAIL_FORMAT"),
        ("email", ["a@acme.com"], "INVALID_FIELD_TYPE"),
        ("business_license", "", "EMPTY_REQUIRED_FIELD"),
        ("business_license", "123", "INVALID_LICENSE_FORMAT"),
        ("business_license", "ABCDEF123", "INVALID_LICENSE_FORMAT"),
        ("business_license", "bl123456", "INVALID_LICENSE_FORMAT"),
        ("business_license", "BL 123456", "INVALID_LICENSE_FORMAT"),
        ("business_license", "BL1234567890123456789", "INVALID_LICENSE_FORMAT"),
        ("business_license", "BL١٢٣٤٥٦", "INVALID_LICENSE_FORMAT"),
        ("tax_id", "", "EMPTY_REQUIRED_FIELD"),
        ("tax_id", "invalid", "INVALID_TAX_ID_FORMAT"),
        ("tax_id", "123", "INVALID_TAX_ID_FORMAT"),
        ("tax_id", "00-1234567", "INVALID_TAX_ID_FORMAT"),
        ("tax_id", "123-45-6789", "INVALID_TAX_ID_FORMAT"),
        ("tax_id", "DE136695977", "INVALID_TAX_ID_FORMAT"),
        ("website", "not-a-url", "INVALID_URL_FORMAT"),
        ("website", "www.acme.com", "INVALID_URL_FORMAT"),
        ("website", "ftp://acme.com", "INVALID_URL_FORMAT"),
        ("website", "javascript:alert(1)", "INVALID_URL_FORMAT"),
        ("website", "http://", "INVALID_URL_FORMAT"),
        ("website", "http://[::1", "INVALID_URL_FORMAT"),
        ("website", "https://acme.com:99999/", "INVALID_URL_FORMAT"),
        ("website", "https://user:pw@acme.com", "INVALID_URL_FORMAT"),
        ("website", "http://localhost/", "INVALID_URL_FORMAT"),
        ("website", "http://printer.local/", "INVALID_URL_FORMAT"),
        ("website", "http://192.168.0.1/", "INVALID_URL_FORMAT"),
        ("website", "http://169.254.169.254/latest", "INVALID_URL_FORMAT"),
        ("website", "https://acme.com/a b", "INVALID_URL_FORMAT"),
        ("website", "https://-acme.com", "INVALID_URL_FORMAT"),
        ("website", "https://\u0301.com", "INVALID_URL_FORMAT"),
        ("website", "http://127.0.0.0x1/", "INVALID_URL_FORMAT"),
        ("website", "http://1.0x/", "INVALID_URL_FORMAT"),
        ("website", "http://intranet.localhost./", "INVALID_URL_FORMAT"),
        ("website", "http://wiki.internal./", "INVALID_URL_FORMAT"),
        ("website", "http://[v1.a]/", "INVALID_URL_FORMAT"),
        ("website", "https://acme.com/\u202egpj.exe", "INVALID_URL_FORMAT"),
        ("website", "https://ac\u00adme.com", "INVALID_URL_FORMAT"),
        ("phone", "invalid-phone", "INVALID_PHONE_FORMAT"),
        ("phone", "1-800-FLOWERS", "INVALID_PHONE_FORMAT"),
        ("phone", "123", "INVALID_PHONE_FORMAT"),
        ("phone", "+999999", "INVALID_PHONE_FORMAT"),
        ("phone", "415 555 2671 extra", "INVALID_PHONE_FORMAT"),
        ("address", "nowhere", "INVALID_ADDRESS"),
        ("address", {}, "EMPTY_REQUIRED_FIELD"),
        ("address", 7, "INVALID_FIELD_TYPE"),
        ("bank_account", "DE89370400440532013001", "INVALID_BANK_ACCOUNT"),
        ("bank_account", "12", "INVALID_BANK_ACCOUNT"),
        ("bank_account", "BE68539007547035", "INVALID_BANK_ACCOUNT"),
        ("bank_account", {"bic": "DEUTDEFF"}, "INVALID_BANK_ACCOUNT"),
    ],
)
def test_every_mistake_has_its_code(field: str, value: object, code: str) -> None:
    """One invalid field gives one error of the documented type, for that field."""
    assert errors_of(**{field: value}) == [(field, code)]


@pytest.mark.parametrize(
    ("part", "value"),
    [("street", ""), ("state", "XX"), ("state", ""), ("city", ""), ("zip", "9"), ("zip", ""), ("country", "Atlantis")],
)
def test_address_parts(part: str, value: str) -> None:
    """Every invalid part of an address has its own error."""
    address = {**CLEAN["address"], part: value}  # type: ignore[dict-item]
    assert errors_of(address=address) == [(f"address.{part}", "INVALID_ADDRESS")]


def test_address_part_of_wrong_type_or_length() -> None:
    """A part that is not text, or is too long, is an error before any look-up."""
    for value in (["x"], True, "x" * 201):
        address = {**CLEAN["address"], "street": value}  # type: ignore[dict-item]
        assert errors_of(address=address) == [("address.street", "INVALID_ADDRESS")]


@pytest.mark.parametrize(
    "address",
    [
        {"street": "Chausseestr. 1", "city": "Berlin", "zip": "10115", "country": "Germany"},
        {"street": "10 Downing St", "city": "London", "zip": "SW1A 2AA", "country": "UK"},
        {
            "street_address": "1 King St W",
            "city": "Toronto",
            "province": "ON",
            "postal_code": "M5H 1A1",
            "country": "CA",
        },
        {"street": "1 Market St", "city": "San Francisco", "state": "California", "zip": 94105},
    ],
)
def test_addresses_of_many_countries(address: dict[str, object]) -> None:
    """The parts that a country requires are sufficient, under any of their usual names."""
    report = validate_business_data({"address": address}, require=())
    assert (report.errors, report.warnings) == ([], [])


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("phone", "+1-555-123-4567", "UNASSIGNED_PHONE_NUMBER"),
        ("phone", "+1 415 555 2671 ext. 12", None),
        ("phone", "555-0123", "UNASSIGNED_PHONE_NUMBER"),
        ("email", "someone@mailinator.com", "SUSPICIOUS_EMAIL_DOMAIN"),
        ("email", "someone@inbox.10minutemail.com", "SUSPICIOUS_EMAIL_DOMAIN"),
        ("email", "someone@tempmail.org", "SUSPICIOUS_EMAIL_DOMAIN"),
        ("website", "https://8.8.8.8/", "SUSPICIOUS_WEBSITE"),
        ("website", "https://асmе-paypal.com", "LOOKALIKE_DOMAIN"),
        ("website", "https://xn--80ak6aa92e.com", "LOOKALIKE_DOMAIN"),
        ("website", "https://москва.рф", None),
        ("website", "https://москва.com", None),
        ("website", "https://smørrebrød.dk", None),
        ("website", "https://münchen.de.", None),
        ("email", "someone@аpple.com", "LOOKALIKE_DOMAIN"),
        ("email", "someone@xn--80ak6aa92e.com", "LOOKALIKE_DOMAIN"),
        ("email", "someone@почта.рф", None),
        ("bank_account", "BE68539007547034", "UNVERIFIED_BANK_ACCOUNT"),
        ("company_name", "Aсmе Corp", "LOOKALIKE_COMPANY_NAME"),
        ("company_name", "Завод Электроника", None),
        ("address", "123 Industrial Way, Detroit, MI 48201", "UNSTRUCTURED_ADDRESS"),
    ],
)
def test_oddities_are_warnings(field: str, value: object, code: str | None) -> None:
    """Suspicious but valid values pass with a warning."""
    assert warnings_of(**{field: value}) == ([(field, code)] if code else [])


def test_postal_code_of_another_state_is_a_warning() -> None:
    address = {**CLEAN["address"], "zip": "90210"}  # type: ignore[dict-item]
    assert warnings_of(address=address) == [("address.zip", "POSTAL_CODE_MISMATCH")]


def test_state_in_latin_letters_where_the_tables_have_others() -> None:
    address = {"street": "1 Shennan Rd", "city": "Shenzhen", "state": "Guangdong", "zip": "518000", "country": "CN"}
    report = validate_business_data({"address": address}, require=())
    assert report.errors == []
    assert {code for _, code in codes(report.warnings)} == {"UNVERIFIED_ADDRESS"}


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("DE136695976", "US"),
        ("136695976", "DE"),
        ("GB980780684", "US"),
        ("FR40303265045", "US"),
        ("11.222.333/0001-81", "BR"),
        ("83 914 571 673", "AU"),
        ("91-1144442", "US"),
        ("EU372022452", "US"),
        ("XI980780684", "GB"),
        ("EL094259216", "Greece"),
        ("CHE-107.787.577 MWST", "Switzerland"),
        ("27AAPFU0939F1ZV", "IN"),
        ("T01FC6132D", "SG"),
    ],
)
def test_tax_numbers_by_country(number: str, country: str) -> None:
    """A number is validated for its own country prefix, or else for the country of the business."""
    report = validate_business_data({"tax_id": number, "country": country}, require=())
    assert report.errors == []
    again = validate_business_data(report.normalized, require=(), default_country=country_code(country) or "")
    assert again.normalized == report.normalized


def test_a_tax_number_keeps_the_country_that_it_names() -> None:
    given = {"tax_id": "de 136 695 976", "address": {**CLEAN["address"]}}  # type: ignore[dict-item]
    report = validate_business_data(given, require=())
    assert report.normalized["tax_id"] == "DE136695976"
    assert validate_business_data(report.normalized, require=()).normalized == report.normalized


def test_a_phone_keeps_its_extension() -> None:
    report = validate_business_data({"phone": "+1 415 555 2671 ext. 12"}, require=())
    assert report.normalized["phone"] == "+14155552671;ext=12"
    assert validate_business_data(report.normalized, require=()).normalized == report.normalized


def test_a_country_name_without_end_is_not_kept() -> None:
    assert country_code("x" * 10_000_000) is None
    assert [country_code(name) for name in (" kosovo ", "XK", "uk", "nowhere")] == ["XK", "XK", "GB", None]


def test_tax_number_of_a_country_without_rules() -> None:
    """Without rules for a country, only the form is validated, with a warning."""
    report = validate_business_data({"tax_id": "QA-123456", "country": "Qatar"}, require=())
    assert codes(report.warnings) == [("tax_id", "UNVERIFIED_TAX_ID")]
    report = validate_business_data({"tax_id": "q", "country": "Qatar"}, require=())
    assert codes(report.errors) == [("tax_id", "INVALID_TAX_ID_FORMAT")]


def test_bank_account_in_parts() -> None:
    """A mapping is validated part by part."""
    good = {"account_number": "000123456789", "routing_number": "111000025", "bic": "AGRIFRPP882"}
    report = validate_business_data({"bank_account": good}, require=())
    assert report.normalized["bank_account"] == good
    bad = {"iban": "XX00", "routing_number": "111000026", "bic": "?"}
    report = validate_business_data({"bank_account": bad}, require=())
    assert [field for field, _ in codes(report.errors)] == [
        "bank_account.iban",
        "bank_account.routing_number",
        "bank_account.bic",
    ]
    assert "bank_account" not in report.normalized


@pytest.mark.parametrize(
    "part", ["DE89370400440532013000" + " " * 50 + "x", ["DE89370400440532013000"], True, {"a": 1}]
)
def test_a_part_of_a_bank_account_is_seen_whole(part: object) -> None:
    report = validate_business_data({"bank_account": {"iban": part}}, require=())
    assert codes(report.errors) == [("bank_account.iban", "INVALID_BANK_ACCOUNT")]


def test_what_is_required() -> None:
    """Company name and email are required by default. Both names of the email field are accepted."""
    assert codes(validate_business_data({}).errors) == [
        ("company_name", "EMPTY_REQUIRED_FIELD"),
        ("email", "EMPTY_REQUIRED_FIELD"),
    ]
    assert validate_business_data({"company_name": "Acme", "business_email": "a@acme.com"}).is_valid
    assert validate_business_data({}, require=()).is_valid
    assert codes(validate_business_data({}, require=("tax_id",)).errors) == [("tax_id", "EMPTY_REQUIRED_FIELD")]


def test_other_keys_are_left_alone() -> None:
    report = validate_business_data({**CLEAN, "notes": "\x00", "password": 5})
    assert report.is_valid
    assert "notes" not in report.normalized


def test_data_that_is_no_mapping() -> None:
    with pytest.raises(ValidationError):
        validate_business_data(["x"])  # type: ignore[arg-type]


def test_names_that_imitate_a_known_one() -> None:
    """A look-alike of a known company gives a warning. The same name does not."""
    known = KnownNames(["Microsoft Corporation", "Acme"])
    assert len(known) == 2
    for imitation in (
        *("Mіcrosoft Inc", "MlCROSOFT", "rnicrosoft", "Mïcrosoft", "МІСROSOFT", "Micr0søft", "Ｍicrosoft", "𝔐icrosoft"),
        *("ᎷᎥᏟᏒꓳᏚꓳᖴᎢ", "🅜icrosoft", "🇲icrosoft", "Mi¢ro$oft", "Mic\ufe0frosoft"),
    ):
        report = validate_business_data({"company_name": imitation}, require=(), known_names=known)
        assert codes(report.warnings) == [("company_name", "LOOKALIKE_COMPANY_NAME")], imitation
    for honest in ("Microsoft Corporation", "microsoft corporation", "Macrosoft"):
        report = validate_business_data({"company_name": honest}, require=(), known_names=known)
        assert report.warnings == [], honest


class TestScore:
    """The score separates valid, suspicious and invalid data, at the limits of the contract."""

    def score(self, **changes: object) -> float:
        return validate_business_data({**CLEAN, **changes}).security_score

    def test_cheap_warnings_stay_low_risk(self) -> None:
        score = self.score(phone="+1-555-123-4567", address="123 Industrial Way, Detroit, MI 48201")
        assert score > 0.8
        assert risk_level(score) == "low"

    def test_disposable_mail(self) -> None:
        score = self.score(email="x@mailinator.com")
        assert 0.5 <= score < 0.7
        assert risk_level(score) == "medium"

    @pytest.mark.parametrize("field", ["business_license", "tax_id"])
    def test_one_invalid_critical_field(self, field: str) -> None:
        score = self.score(**{field: "x"})
        assert score < 0.5
        assert risk_level(score) == "high"

    def test_one_invalid_other_field(self) -> None:
        assert 0.5 <= self.score(website="x") < 0.8

    def test_mostly_invalid(self) -> None:
        report = validate_business_data(
            {"company_name": "", "email": "x", "business_license": "1", "tax_id": "x", "website": "x", "phone": "1"}
        )
        assert report.security_score < 0.3
        assert risk_level(report.security_score) == "critical"

    def test_an_attack(self) -> None:
        assert security_score([], [], checked=8, attacks=1) < 0.5

    @given(
        wrong=st.lists(st.sampled_from(sorted(CLEAN)), max_size=8),
        odd=st.lists(st.sampled_from(["SUSPICIOUS_EMAIL_DOMAIN", "OTHER"]), max_size=5),
        attacks=st.integers(0, 9),
    )
    def test_more_findings_never_raise_it(self, wrong: list[str], odd: list[str], attacks: int) -> None:
        """It stays within 0 and 1, and one more finding never raises it."""
        errors = [FieldError(field=name, error_type="E", message="") for name in wrong]
        warnings = [FieldError(field="x", error_type=code, message="") for code in odd]
        score = security_score(errors, warnings, checked=8, attacks=attacks)
        assert 0.0 <= score <= 1.0
        assert security_score(errors, warnings, checked=8, attacks=attacks + 1) <= score
        assert security_score(errors[:-1], warnings, checked=8, attacks=attacks) >= score


@settings(max_examples=150, deadline=None)
@given(
    data=st.dictionaries(
        st.sampled_from([*sorted(CLEAN), "business_email", "country", "x"]),
        st.one_of(
            st.none(),
            st.text(max_size=80),
            st.integers(),
            st.lists(st.text(max_size=3), max_size=2),
            st.dictionaries(
                st.sampled_from(["street", "city", "state", "zip", "country", "iban", "bic", "routing_number"]),
                st.one_of(st.text(max_size=40), st.integers(), st.none(), st.lists(st.none(), max_size=1)),
            ),
        ),
    )
)
def test_no_input_breaks_it(data: dict[str, object]) -> None:
    """Any input gives a report, and only fields without errors are normalized."""
    report = validate_business_data(data)
    wrong = {error.field.partition(".")[0] for error in report.errors}
    assert wrong.isdisjoint(report.normalized)
    assert 0.0 <= report.security_score <= 1.0
