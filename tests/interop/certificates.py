"""Certificates for the TLS tests, made anew for each run."""
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Authority:
    """A root certificate in a folder, and leaves signed by it."""

    def __init__(self, folder, label):
        self.folder, self.label = folder, label
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
        self.certificate = self._sign(self.name, self.key.public_key(), [x509.BasicConstraints(ca=True, path_length=None)])
        self.path = self._write(f"{label}.pem", self.certificate.public_bytes(serialization.Encoding.PEM))

    def leaf(self, label, usage):
        """{"cert": path, "key": path} of a leaf for localhost, 127.0.0.1 and ::1; usage is "server" or "client"."""
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if usage == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "::1"))])
        certificate = self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)]), key.public_key(),
                                 [x509.BasicConstraints(ca=False, path_length=None), x509.ExtendedKeyUsage([purpose]), names])
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return {"cert": self._write(f"{label}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
                "key": self._write(f"{label}.key", pem)}

    def _sign(self, subject, public, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=1)))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return str(path)
