"""Words that a shell runs, by how far prose knows them."""

from __future__ import annotations

from gatewright.threats.structure.words import words

PLAIN = words(
    "whoami uname ifconfig ipconfig netstat nslookup wget curl ncat netcat bash zsh ksh powershell pwsh certutil "
    "bitsadmin mshta rundll32 regsvr32 systeminfo tasklist printenv busybox socat xxd base64 crontab phpinfo tracert "
    "traceroute useradd adduser usermod chmod chown mkfifo telnet tftp ftp rm mv nc ls dir id tac pwd ps "
    "python2 python3 cmd ping ssh scp dig lsof sudo env wmic schtasks netsh iwr "
    "iex findstr fsutil icacls hostname passwd killall openssl gcc od xargs "
    "egrep grep awk sed getent vssadmin cscript wscript bcdedit attrib takeown nltest dsquery usleep sysctl dmesg "
    "lsblk umount dd mknod nohup md5sum sha1sum lastlog lscpu lspci systemctl iptables tcpdump strace rsync "
    "arp whois logname bzip2 gzip gunzip pkill pgrep chsh chpasswd visudo runas psexec sigverif driverquery"
)
"""Words that hardly begin a sentence."""

WORDY = words(
    "cat type find sort more less head tail tee cut test set echo printf sleep timeout touch cp copy del erase move "
    "ren start stop net host mail last who top date time make tar zip unzip at eval exec source su sh export wc tr df "
    "du cd look which read print shutdown ver expr reboot halt calc notepad fetch nmap mysql sqlite3 vi "
    "vim nano man history route service ss users groups strings diff reg query call ed wall screen "
    "python ruby perl php lua node finger kill vol mount sc rev nl"
)
"""Words that are also plain English: these need an argument."""

KNOWN = PLAIN | WORDY

CARRIERS = words("sudo time command builtin exec eval nohup env then do else nice ionice stdbuf setsid doas start call")
"""Words behind which another command stands."""
