//! Users, and what they may do.

use std::collections::BTreeSet;

use baton_model::limits::{GRANTS_MAX, USERS_MAX};

use super::Step;
use crate::grants::{GrantScope, Grants, Privilege, ROOT};
use crate::objects::User;
use crate::outcome::{Outcome, Rejection};
use crate::row::RowKey;

impl Step<'_> {
    pub(super) fn create_user(
        &mut self,
        name: &str,
        if_not_exists: bool,
        password_hash: Option<[u8; 20]>,
    ) -> Outcome {
        if self.catalog.users.contains_key(name) {
            return if if_not_exists { self.done() } else { Err(Rejection::UserExists(name.into())) };
        }
        if self.catalog.users.len() >= USERS_MAX {
            return Err(Rejection::Limit(format!("{USERS_MAX} users")));
        }
        self.put_user(User { name: name.into(), password_hash, grants: Grants::default() })
    }

    pub(super) fn drop_user(&mut self, name: &str, if_exists: bool) -> Outcome {
        if name == ROOT {
            return Err(Rejection::RootStays);
        }
        if self.catalog.users.remove(name).is_some() {
            self.changed.insert(RowKey::User(name.into()));
        } else if !if_exists {
            return Err(Rejection::NoSuchUser(name.into()));
        }
        self.done()
    }

    pub(super) fn set_password(&mut self, name: &str, password_hash: Option<[u8; 20]>) -> Outcome {
        let user = self.user(name)?;
        self.put_user(User { password_hash, ..user })
    }

    pub(super) fn grant(
        &mut self,
        name: &str,
        privileges: &BTreeSet<Privilege>,
        scope: &GrantScope,
    ) -> Outcome {
        let mut user = self.user(name)?;
        user.grants.grant(privileges, scope);
        if user.grants.scopes() > GRANTS_MAX {
            return Err(Rejection::Limit(format!("{GRANTS_MAX} grants of one user")));
        }
        self.put_user(user)
    }

    pub(super) fn revoke(
        &mut self,
        name: &str,
        privileges: &BTreeSet<Privilege>,
        scope: &GrantScope,
    ) -> Outcome {
        let mut user = self.user(name)?;
        if name == ROOT {
            return Err(Rejection::RootStays);
        }
        if !user.grants.revoke(privileges, scope) {
            return Err(Rejection::NotGranted(name.into(), scope.to_string()));
        }
        self.put_user(user)
    }

    pub(super) fn revoke_all(&mut self, name: &str) -> Outcome {
        let user = self.user(name)?;
        if name == ROOT {
            return Err(Rejection::RootStays);
        }
        self.put_user(User { grants: Grants::default(), ..user })
    }

    fn user(&self, name: &str) -> Result<User, Rejection> {
        self.catalog.users.get(name).cloned().ok_or_else(|| Rejection::NoSuchUser(name.into()))
    }

    fn put_user(&mut self, user: User) -> Outcome {
        self.changed.insert(RowKey::User(user.name.clone()));
        self.catalog.users.insert(user.name.clone(), user);
        self.done()
    }
}
