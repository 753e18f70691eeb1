"""Every public name is there, and each manager has the calls that its users were promised."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import gatewright


@pytest.mark.parametrize("name", gatewright.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(gatewright, name) is not None
    assert name in dir(gatewright)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = gatewright.Nonsense


CALLS = {
    "ManufacturerAuthManager": """register_manufacturer authenticate_manufacturer complete_mfa
        generate_manufacturer_token validate_token refresh_tokens revoke_token rotate_signing_key jwks
        request_password_reset reset_password change_password create_session validate_session get_session_info
        list_sessions refresh_session rotate_session invalidate_session invalidate_sessions
        detect_session_hijacking assess_session_risk cleanup_expired_sessions setup_mfa confirm_mfa
        verify_mfa_token generate_backup_codes verify_backup_code disable_mfa register_trusted_device
        verify_device list_devices revoke_device begin_passkey_registration finish_passkey_registration
        begin_passkey_login finish_passkey_login create_api_key verify_api_key list_api_keys revoke_api_key
        require_recent_mfa initialize close""",
    "ManufacturerRBACManager": """has_permission has_permissions check_permission_detailed enforce_permission
        get_permission_violations check_usage_limit enforce_usage_limit increment_usage get_current_usage
        refund_usage get_overage_attempts get_usage_history reset_monthly_quotas update_manufacturer_tier
        grant_permission revoke_grant get_usage_analytics suggest_tier suggest_permissions apply_suggestion
        initialize close""",
    "ManufacturerSecurityValidator": """load_threat_patterns detect_threat analyze_threat get_threat_confidence
        inspect inspect_many sanitize validate_manufacturer_data validate_many check_rate_limit
        provide_threat_feedback retrain_ml_models list_model_versions rollback_model get_pattern_statistics
        initialize close""",
    "ManufacturerEncryptionManager": """encrypt_manufacturer_data decrypt_manufacturer_data rotate_encryption_key
        rotate_root_key reencrypt_manufacturer_data reencrypt_all blind_index shred mask
        validate_encryption_compliance initialize close""",
    "SecurityMonitor": """performance create_security_incident list_incidents resolve_incident assess propose
        apply roll_back initialize close""",
}


@pytest.mark.parametrize(("manager", "call"), [(m, c) for m, calls in CALLS.items() for c in calls.split()])
def test_each_manager_has_its_calls(manager: str, call: str) -> None:
    assert callable(getattr(getattr(gatewright, manager), call))


@pytest.mark.parametrize("manager", CALLS)
async def test_each_manager_works_alone_opened_twice_and_closed_twice(manager: str) -> None:
    made = getattr(gatewright, manager)()
    async with made:
        await made.initialize()
    await made.close()


FACES = [path.parent for path in sorted(Path(gatewright.__file__).parent.glob("*/__init__.py"))]


@pytest.mark.parametrize("face", FACES, ids=lambda path: path.name)
def test_every_name_of_a_package_face_can_be_imported(face: Path) -> None:
    package = importlib.import_module(f"gatewright.{face.name}")
    assert [name for name in getattr(package, "__all__", ()) if not hasattr(package, name)] == []
