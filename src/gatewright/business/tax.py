"""Tax numbers by country, validated by their check digits (python-stdnum) without network access."""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

from gatewright.business.countries import country_code
from gatewright.business.results import Outcome

_PLACES = {
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
"""Country to the modules of ``stdnum`` for numbers that a business has there; ``EU`` is the union's one-stop shop."""


def check_tax_id(name: str, value: str, *, country: str | None = None) -> Outcome:
    """Check a tax number by the rules of its country, check digits included.

    Args:
        name: the field.
        value: the number; two letters in front (``DE136695976``) name the country, and stay.
        country: alpha-2 code that is meant where the number names none; an EIN of the United States by default.
    """
    number = value.strip()
    named = _country_in(number)
    candidates = dict.fromkeys(filter(None, (named, country or "US")))
    for candidate in candidates:
        normalised = _valid_in(candidate, number)
        if normalised is not None:
            prefix = number[:2].upper() if candidate == named else ""
            return Outcome(value=normalised if normalised.startswith(prefix) else prefix + normalised)
    meant = named or country or "US"
    if meant not in _PLACES:
        return _unknown_rules(name, number, meant)
    expected = "an EIN such as 12-3456789" if meant == "US" else f"a business tax number of {meant}"
    return Outcome.refused(name, "INVALID_TAX_ID_FORMAT", f"Not {expected}. Check the digits, or state the country.")


def _country_in(number: str) -> str | None:
    prefix = number[:2]
    if len(number) <= 4 or not (prefix.isascii() and prefix.isalpha()):
        return None
    return "EU" if prefix.upper() == "EU" else country_code(prefix)


def _valid_in(country: str, number: str) -> str | None:
    from stdnum.exceptions import ValidationError

    for place in _PLACES.get(country, "").split():
        try:
            return str(_module(place).validate(number))
        except ValidationError:
            continue
    return None


def _unknown_rules(name: str, number: str, country: str) -> Outcome:
    bare = number.translate({ord(character): None for character in " -./"})
    if not (5 <= len(bare) <= 20 and bare.isascii() and bare.isalnum() and any(map(str.isdigit, bare))):
        return Outcome.refused(name, "INVALID_TAX_ID_FORMAT", "A tax number must have 5 to 20 letters and digits.")
    outcome = Outcome(value=bare.upper())
    outcome.warn(name, "UNVERIFIED_TAX_ID", f"The check digits of {country} are unknown. Check it manually.")
    return outcome


@lru_cache(maxsize=128)
def _module(place: str) -> ModuleType:
    return importlib.import_module(f"stdnum.{place}")
