"""Handwritten digits with logistic regression. Nothing in here knows of autotrack: `autotrack run sklearn_digits.py --C 0.5`."""

import argparse

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--C", type=float, default=1.0, help="inverse of the regularisation strength")
parser.add_argument("--max-iter", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, test_size=0.25, random_state=args.seed)
model = LogisticRegression(C=args.C, max_iter=args.max_iter)
model.fit(X_train, y_train)
print(f"accuracy {model.score(X_test, y_test):.4f}")
