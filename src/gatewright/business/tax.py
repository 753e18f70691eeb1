"""Tax numbers by country, validated by their check digits (python-stdnum), without network access."""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

from gatewright.business.address import country_code
from gatewright.business.results import FieldResult

_MODULES = {
    "AD": "ad.nrt",
    "AL": "al.nipt",
    "AR": "ar.cuit",
    "AT": "at.uid",
    "AU": "au.abn au.acn au.tfn",
    "AZ": "az.voen",
    "BE": "be.vat",
    "BG": "bg.vat",
    "BR": "br.cnpj",
    "BY": "by.unp",
    "CA": "ca.bn",
    "CH": "ch.vat ch.uid",
    "CL": "cl.rut",
    "CN": "cn.uscc",
    "CO": "co.nit",
    "CR": "cr.cpj",
    "CY": "cy.vat",
    "CZ": "cz.dic",
    "DE": "de.vat de.stnr",
    "DK": "dk.cvr",
    "DO": "do.rnc",
    "DZ": "dz.nif",
    "EC": "ec.ruc",
    "EE": "ee.kmkr ee.registrikood",
    "EG": "eg.tn",
    "ES": "es.nif es.cif",
    "EU": "eu.oss",
    "FI": "fi.alv fi.ytunnus",
    "FO": "fo.vn",
    "FR": "fr.tva fr.siren fr.siret",
    "GB": "gb.vat gb.utr",
    "GH": "gh.tin",
    "GN": "gn.nifp",
    "GR": "gr.vat",
    "GT": "gt.nit",
    "HR": "hr.oib",
    "HU": "hu.anum",
    "ID": "id.npwp",
    "IE": "ie.vat",
    "IL": "il.hp",
    "IN": "in_.gstin in_.pan",
    "IS": "is_.vsk",
    "IT": "it.iva",
    "JP": "jp.cn",
    "KE": "ke.pin",
    "KR": "kr.brn",
    "LI": "li.peid",
    "LT": "lt.pvm",
    "LU": "lu.tva",
    "LV": "lv.pvn",
    "MA": "ma.ice",
    "MC": "mc.tva",
    "MD": "md.idno",
    "ME": "me.pib",
    "MK": "mk.edb",
    "MT": "mt.vat",
    "MX": "mx.rfc",
    "MZ": "mz.nuit",
    "NL": "nl.btw",
    "NO": "no.mva no.orgnr",
    "NZ": "nz.ird",
    "PE": "pe.ruc",
    "PL": "pl.nip pl.regon",
    "PT": "pt.nif",
    "PY": "py.ruc",
    "RO": "ro.cf",
    "RS": "rs.pib",
    "RU": "ru.inn",
    "SE": "se.vat se.orgnr",
    "SG": "sg.uen",
    "SI": "si.ddv",
    "SK": "sk.dph",
    "SM": "sm.coe",
    "SN": "sn.ninea",
    "SV": "sv.nit",
    "TH": "th.moa",
    "TN": "tn.mf",
    "TR": "tr.vkn",
    "TW": "tw.ubn",
    "UA": "ua.edrpou",
    "US": "us.ein",
    "UY": "uy.rut",
    "VE": "ve.rif",
    "VN": "vn.mst",
    "ZA": "za.tin",
}
"""The ``stdnum`` modules for business tax numbers, by country. ``EU`` is the one-stop shop of the European Union."""


def check_tax_id(name: str, value: str, *, country: str | None = None) -> FieldResult:
    """Validate a tax number by the rules of its country, including check digits.

    Args:
        name: the name of the field.
        value: the number. A country prefix (``DE136695976``) is recognized and kept.
        country: the country of numbers without a prefix, as an alpha-2 code. Defaults to the United States (EIN).
    """
    number = value.strip()
    prefix_country = _country_in(number)
    candidates = dict.fromkeys(filter(None, (prefix_country, country or "US")))
    for candidate in candidates:
        normalized = _valid_in(candidate, number)
        if normalized is not None:
            prefix = number[:2].upper() if candidate == prefix_country else ""
            return FieldResult(value=normalized if normalized.startswith(prefix) else prefix + normalized)
    assumed = prefix_country or country or "US"
    if assumed not in _MODULES:
        return _check_generic(name, number, assumed)
    expected = "EIN, such as 12-3456789" if assumed == "US" else f"business tax number of {assumed}"
    return FieldResult.invalid(
        name, "INVALID_TAX_ID_FORMAT", f"Not a valid {expected}. Check the digits, or set the country."
    )


def _country_in(number: str) -> str | None:
    prefix = number[:2]
    if len(number) <= 4 or not (prefix.isascii() and prefix.isalpha()):
        return None
    return "EU" if prefix.upper() == "EU" else country_code(prefix)


def _valid_in(country: str, number: str) -> str | None:
    from stdnum.exceptions import ValidationError

    for module in _MODULES.get(country, "").split():
        try:
            return str(_module(module).validate(number))
        except ValidationError:
            continue
    return None


def _check_generic(name: str, number: str, country: str) -> FieldResult:
    compact = number.translate({ord(character): None for character in " -./"})
    if not (5 <= len(compact) <= 20 and compact.isascii() and compact.isalnum() and any(map(str.isdigit, compact))):
        return FieldResult.invalid(name, "INVALID_TAX_ID_FORMAT", "A tax number must have 5 to 20 letters and digits.")
    result = FieldResult(value=compact.upper())
    result.add_warning(
        name, "UNVERIFIED_TAX_ID", f"Tax numbers from {country} cannot be verified. Check this one manually."
    )
    return result


@lru_cache(maxsize=128)
def _module(name: str) -> ModuleType:
    return importlib.import_module(f"stdnum.{name}")
