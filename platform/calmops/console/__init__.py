"""The console page's files: static, without anything from elsewhere. The gateway will serve them at /console."""
